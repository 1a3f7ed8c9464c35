//! `stack`: fetches and runs the real parts around the filter, from the command line.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!(
                "{}error:{} {}",
                cli::style::BAD,
                cli::style::RESET,
                cli::chain(&*error)
            );
            ExitCode::FAILURE
        }
    }
}
