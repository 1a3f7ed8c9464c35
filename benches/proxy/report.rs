//! The tables, for the terminal and for `docs/benchmarks.md`.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::cpu::{Amount, CpuTimes};
use crate::machine::Machine;
use crate::measurement::Measurement;
use crate::propagation::Propagation;
use crate::target::{Target, kib};
use crate::variant::Variant;

/// All that was measured; what was left out has no section.
#[derive(Debug)]
pub struct Report {
    pub machine: Machine,
    pub cpu: Option<CpuTimes>,
    pub propagation: Option<Propagation>,
    pub micro: Option<Vec<Measurement>>,
    /// Of the module and of the empty filter, in bytes.
    pub sizes: [u64; 2],
}

impl Report {
    /// The text of `docs/benchmarks.md`.
    pub fn to_markdown(&self) -> String {
        let Machine { cores, cpu, envoy, consul } = &self.machine;
        let sections = [
            Some(format!(
                "# Benchmarks\n\n\
                 Written by `make bench`. Envoy {envoy}, Consul {consul}; {cores} cores, {cpu}. \
                 Load, backends and Envoy share the machine: look at ratios more than at times."
            )),
            Some(format!("## Targets\n\n{}", self.targets())),
            self.cpu.as_ref().map(cpu_section),
            self.propagation.as_ref().map(propagation_section),
            self.micro.as_deref().map(micro_section),
            Some(format!("## Size of the module\n\n{}", size_table(self.sizes))),
        ];
        let sections: Vec<_> = sections.into_iter().flatten().collect();
        sections.join("\n\n") + "\n"
    }

    fn targets(&self) -> Table {
        let mut table = table(&["target", "measured", ""], 1);
        let targets = [
            self.cpu.as_ref().and_then(Target::cpu),
            self.micro.as_deref().map(Target::picks),
            self.propagation.as_ref().map(Target::propagation),
            Some(Target::size(self.sizes[0])),
        ];
        for target in targets.into_iter().flatten() {
            let verdict = if target.is_met { "met" } else { "**not met**" };
            table.add_row([target.aim, target.measured, verdict.to_owned()]);
        }
        table
    }
}

fn cpu_section(cpu: &CpuTimes) -> String {
    let Amount { rounds, requests, connections } = cpu.amount;
    let compared = cpu_table(cpu, false);
    let parts = cpu_table(cpu, true);
    format!(
        "## CPU per request\n\n\
         CPU time of the whole Envoy process (one worker, to the nanosecond) divided by the \
         number of requests, which come in a closed loop on {connections} kept connections and \
         go to three backends. All Envoys run side by side and are asked in turn, forwards, then \
         backwards; a round is {requests} requests to each. Median of {rounds} rounds after a \
         warm-up, with the quartiles; the ratios are medians of the rounds' own. The connection \
         manager's settings are the same everywhere.\n\n{compared}\n\n\
         Where the time goes, by the same rounds:\n\n{parts}"
    )
}

/// The variants that are compared, or those that are parts.
fn cpu_table(cpu: &CpuTimes, parts: bool) -> Table {
    let mut table = table(&["", "", "µs", "25–75 %", "min–max", "× (a)", "× (b)"], 2);
    for variant in cpu.variants().filter(|v| v.is_part() == parts) {
        let times = cpu.of(variant);
        let ratio = |to| {
            let ratio = cpu.ratio(variant, to);
            ratio.map_or_else(String::new, |ratio| format!("{:.2}", ratio.median()))
        };
        let quartiles = [0.25, 0.75].map(|part| format!("{:.1}", times.quantile(part)));
        table.add_row([
            variant.letter().to_owned(),
            variant.description().to_owned(),
            format!("{:.1}", times.median()),
            quartiles.join("–"),
            format!("{:.1}–{:.1}", times.min(), times.max()),
            ratio(Variant::Native),
            ratio(Variant::Empty),
        ]);
    }
    table
}

fn propagation_section(propagation: &Propagation) -> String {
    let Propagation { changes, workers, bare, all_workers, difference, resolution } = propagation;
    let resolution = resolution.median();
    let mut table = table(&["", "median", "p90", "max"], 1);
    for (name, sample) in [
        ("bare blocking query answered", bare),
        ("first request on every worker", all_workers),
        ("difference, change by change", difference),
    ] {
        let numbers = [sample.median(), sample.quantile(0.9), sample.max()];
        let numbers = numbers.map(|number| format!("{number:.1}"));
        table.add_row([name.to_owned()].into_iter().chain(numbers));
    }
    format!(
        "## From a change in Consul to requests\n\n\
         An instance is registered and deregistered {changes} times at the agent, under \
         `envoy/envoy.yaml` with {workers} workers. One kept connection to each worker (found by \
         Envoy's count of the connections that each worker accepted) is polled, a request every \
         {resolution:.2} ms, until the answer comes from where it has to. A bare HTTP client \
         watches the same change with the same blocking query. Milliseconds from the begin of \
         the change:\n\n{table}"
    )
}

fn micro_section(micro: &[Measurement]) -> String {
    let header = ["", "", "weights", "10", "1,000", "10,000 endpoints"];
    let mut table = table(&header, 3);
    let mut names: Vec<_> = micro.iter().map(Measurement::name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (what, how, weights) = name;
        let mut row = vec![what.to_owned(), how.to_owned(), weights.to_owned()];
        let of_it = micro.iter().filter(|m| m.name() == name);
        row.extend(of_it.map(|m| thousands(m.median_ns)));
        table.add_row(row);
    }
    let rounds = Measurement::ROUNDS;
    format!(
        "## Picks and installs\n\n\
         Natively, one thread; nanoseconds, median of {rounds} rounds. *pick*: choose an endpoint \
         and end an older request, 64 in flight. *decide*: a request's whole way from its host to \
         the handoff. *install*: the first snapshot of a service. *update*: a snapshot in which \
         one endpoint has gone or come back.\n\n{table}"
    )
}

fn size_table([module, empty_filter]: [u64; 2]) -> Table {
    let mut table = table(&["", "KiB"], 1);
    for (name, bytes) in [("consul_resolver.wasm", module), ("empty filter", empty_filter)] {
        table.add_row([name.to_owned(), format!("{:.0}", kib(bytes))]);
    }
    table
}

/// A table that looks the same in a terminal and in Markdown; the columns from `numbers` on
/// are aligned to the right.
fn table(header: &[&str], numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// `12.3` below a thousand, `12,345` above.
fn thousands(number: f64) -> String {
    if number < 1000.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
