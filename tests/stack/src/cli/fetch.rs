//! `stack fetch`.

use super::Failure;
use super::style::{BOLD, RESET};

#[derive(Debug, clap::Args)]
pub struct Fetch {}

impl Fetch {
    pub fn run(self) -> Result<(), Failure> {
        let envoy = stack::fetch::envoy()?;
        anstream::println!("{BOLD}envoy{RESET}   {}", envoy.display());
        match stack::fetch::consul() {
            Ok(consul) => anstream::println!("{BOLD}consul{RESET}  {}", consul.display()),
            // Those who need it say so, and fail or skip as they are told to.
            Err(error) => anstream::eprintln!("{BOLD}no Consul:{RESET} {error}"),
        }
        Ok(())
    }
}
