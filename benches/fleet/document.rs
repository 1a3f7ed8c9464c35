//! The tables of `docs/fleet.md`.

use std::ops::Range;
use std::thread;
use std::time::Duration;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::Failure;
use crate::meter::Meter;
use crate::scenario::{Client, Plan, Reading, Scenario};
use crate::world;

/// How long Consul is away.
pub const OUTAGE: Duration = Duration::from_secs(60);

/// All tables with their names, for fleets of these sizes.
pub fn tables(envoys: &[u32], seed: u64) -> Vec<(&'static str, String)> {
    thread::scope(|scope| {
        let running = [
            ("steady", scope.spawn(|| steady(envoys, seed))),
            ("change", scope.spawn(|| change(envoys, seed))),
            ("storm", scope.spawn(|| storm(seed))),
            ("outage", scope.spawn(|| outage(envoys, seed))),
        ];
        let tables = running.into_iter();
        tables
            .map(|(name, table)| (name, table.join().expect("it does not panic").to_string()))
            .collect()
    })
}

/// The document with its tables replaced: each stands between `<!-- fleet: name -->` and
/// `<!-- end -->`.
pub fn replace(text: &str, tables: &[(&str, String)]) -> Result<String, Failure> {
    const END: &str = "<!-- end -->";
    let mut text = text.to_owned();
    for (name, table) in tables {
        let mark = format!("<!-- fleet: {name} -->");
        let missing = || format!("the document has no table {mark} … {END}");
        let begin = text.find(&mark).ok_or_else(missing)? + mark.len();
        let end = begin + text[begin..].find(END).ok_or_else(missing)?;
        text.replace_range(begin..end, &format!("\n\n{table}\n\n"));
    }
    Ok(text)
}

/// From the moment at which something happens.
pub fn from_then(begin: u64, end: u64) -> Range<Duration> {
    let at = |seconds| Plan::SETTLED.saturating_add(Duration::from_secs(seconds));
    at(begin)..at(end)
}

fn steady(envoys: &[u32], seed: u64) -> Table {
    let header = ["Envoys", "reading", "calls/s", "reads/s", "most in a second"];
    let mut table = table(&header);
    for &envoys in envoys {
        for reading in Reading::ALL {
            let meter = world::run(&Scenario::of(envoys, reading, seed));
            let time = from_then(0, Plan::WATCHED.as_secs());
            table.add_row([
                thousands(envoys.into()),
                reading.name(),
                number(meter.calls_per_second(time.clone())),
                number(meter.reads_per_second(time.clone())),
                thousands(meter.most_reads(time)),
            ]);
        }
    }
    table
}

fn change(envoys: &[u32], seed: u64) -> Table {
    let header =
        ["Envoys", "reading", "reads", "half know, ms", "99 %, ms", "all, ms", "highest echo"];
    let mut table = table(&header);
    for &envoys in envoys {
        for reading in Reading::ALL {
            let scenario = Scenario::of(envoys, reading, seed).with(Plan::ONE_CHANGE);
            let meter = world::run(&scenario);
            let first = from_then(0, 2);
            let reads = meter.reads_per_second(first.clone()) * 2.0;
            let known = [0.5, 0.99, 1.0].map(|part| milliseconds(&meter, part, envoys));
            let echo = meter.most_reads(from_then(5, Plan::WATCHED.as_secs()));
            table.add_row(
                [thousands(envoys.into()), reading.name(), number(reads)]
                    .into_iter()
                    .chain(known)
                    .chain([thousands(echo)]),
            );
        }
    }
    table
}

fn storm(seed: u64) -> Table {
    let header = ["reading", "client", "calls/s", "reads/s", "the last change at 99 %, ms"];
    let mut table = table(&header);
    for reading in [Reading::Leader, Reading::Stale, Reading::Cached { envoys_per_agent: 10 }] {
        for client in [Client::Filter, Client::EverySecond] {
            let scenario = Scenario::of(ENVOYS, reading, seed).with(Plan::STORM);
            let meter = world::run(&Scenario { client, ..scenario });
            // The first seconds are those of the burst that is allowed.
            let time = from_then(10, 30);
            let last = Duration::from_millis(50) * 599;
            let known = meter.informed(0.99, ENVOYS).map(|at| at.saturating_sub(last));
            table.add_row([
                reading.name(),
                client_name(client).to_owned(),
                number(meter.calls_per_second(time.clone())),
                number(meter.reads_per_second(time)),
                known.map_or_else(|| "never".to_owned(), since_settled),
            ]);
        }
    }
    table
}

fn outage(envoys: &[u32], seed: u64) -> Table {
    let header =
        ["Envoys", "client", "calls/s meanwhile", "most in a second after", "half", "99 %"];
    let mut table = table(&header);
    for &envoys in envoys {
        for client in [Client::Filter, Client::EverySecond] {
            let scenario = Scenario::of(envoys, Reading::Leader, seed).with(Plan::Outage(OUTAGE));
            let meter = world::run(&Scenario { client, services: SERVICES, ..scenario });
            let away = OUTAGE.as_secs();
            let back = |part| {
                let at = meter.informed(part, envoys);
                let at = at.map(|at| at.saturating_sub(Plan::SETTLED + OUTAGE).as_secs_f64());
                at.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.1} s"))
            };
            table.add_row([
                thousands(envoys.into()),
                client_name(client).to_owned(),
                number(meter.calls_per_second(from_then(away / 2, away))),
                thousands(meter.most_calls(from_then(away, away + 120))),
                back(0.5),
                back(0.99),
            ]);
        }
    }
    table
}

/// Envoys where the table or the picture is of one fleet: all of it grows with their number.
pub const ENVOYS: u32 = 1_000;

/// Services of each Envoy in an outage.
pub const SERVICES: u32 = 10;

/// As in the tables.
pub const fn client_name(client: Client) -> &'static str {
    match client {
        Client::Filter => "this filter",
        Client::EverySecond => "a plain client",
    }
}

fn milliseconds(meter: &Meter, part: f64, envoys: u32) -> String {
    meter.informed(part, envoys).map_or_else(|| "never".to_owned(), since_settled)
}

fn since_settled(at: Duration) -> String {
    format!("{:.1}", at.saturating_sub(Plan::SETTLED).as_secs_f64() * 1e3)
}

/// All columns but the names are aligned to the right.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header);
    for (column, name) in table.column_iter_mut().zip(header) {
        if !["reading", "client"].contains(name) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// `1.2` below ten, `12,345` above.
fn number(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { thousands(value.round() as u64) }
}

fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
