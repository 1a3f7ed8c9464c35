//! `demo fetch`.

use stack::fetch::EnvoyRelease;

use crate::Failure;
use crate::style::{BOLD, RESET};

#[derive(Debug, clap::Args)]
pub struct Fetch {}

impl Fetch {
    pub fn run(self) -> Result<(), Failure> {
        let envoy = stack::fetch::envoy()?;
        anstream::println!("{BOLD}envoy{RESET}   {}", envoy.display());
        for release in EnvoyRelease::ALL {
            match stack::fetch::envoy_release(&release) {
                Ok(other) if other == envoy => {}
                Ok(other) => anstream::println!("{BOLD}envoy{RESET}   {}", other.display()),
                Err(error) => {
                    anstream::eprintln!("{BOLD}no Envoy {}:{RESET} {error}", release.version())
                }
            }
        }
        match stack::fetch::consul() {
            Ok(consul) => anstream::println!("{BOLD}consul{RESET}  {}", consul.display()),
            // Those who need it say so, and fail or skip as they are told to.
            Err(error) => anstream::eprintln!("{BOLD}no Consul:{RESET} {error}"),
        }
        Ok(())
    }
}
