//! Colours; `anstream` drops them where the output is no terminal.

use anstyle::{AnsiColor, Effects, Reset, Style};

use stack::Status;

pub const BOLD: Style = Style::new().effects(Effects::BOLD);
pub const DIM: Style = Style::new().effects(Effects::DIMMED);
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
pub const COMMAND: Style = AnsiColor::Cyan.on_default();
pub const RESET: Reset = Reset;

/// The colour of a state.
pub fn of(status: Status) -> Style {
    match status {
        Status::Passing => GOOD,
        Status::Warning => DOUBTFUL,
        Status::Critical => BAD,
    }
}
