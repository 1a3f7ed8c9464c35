//! The tables, for the terminal and for `docs/benchmarks.md`.

use std::time::Duration;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::Part;
use crate::contest::{Contender, Contest, Outcome, Race, Scene, Traffic};
use crate::cpu::{Amount, CpuTimes};
use crate::in_module::InModule;
use crate::machine::Machine;
use crate::measurement::Measurement;
use crate::propagation::{Changes, Propagation};
use crate::sample::Sample;
use crate::scale::{Case, Scale};
use crate::start::Starts;
use crate::target::{Target, kib};
use crate::variant::Variant;

/// All that was measured; what was left out has no section.
#[derive(Debug)]
pub struct Report {
    pub machine: Machine,
    pub contest: Option<Contest>,
    pub cpu: Option<CpuTimes>,
    pub propagation: Option<Propagation>,
    pub scale: Option<Scale>,
    pub starts: Option<Starts>,
    /// Natively, and in the module.
    pub micro: Option<(Vec<Measurement>, InModule)>,
    /// Of the module and of the empty filter, in bytes.
    pub sizes: [u64; 2],
    /// How long each part took, or why it failed.
    pub parts: Vec<(Part, Result<Duration, String>)>,
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
            self.contest.as_ref().map(contest_section),
            self.cpu.as_ref().map(cpu_section),
            self.propagation.as_ref().map(propagation_section),
            self.scale.as_ref().map(scale_section),
            self.starts.as_ref().map(start_section),
            self.micro.as_ref().map(|(native, in_module)| micro_section(native, in_module)),
            Some(format!("## Size of the module\n\n{}", size_table(self.sizes))),
            Some(format!("## How long each part took\n\n{}", self.times())),
        ];
        let sections: Vec<_> = sections.into_iter().flatten().collect();
        sections.join("\n\n") + "\n"
    }

    fn times(&self) -> Table {
        let mut table = table(&["", "s", "expected"], 1);
        for (part, outcome) in &self.parts {
            let took = match outcome {
                Ok(time) => time.as_secs().to_string(),
                Err(why) => format!("**failed**: {why}"),
            };
            table.add_row([part.to_string(), took, part.expected().as_secs().to_string()]);
        }
        table
    }

    fn targets(&self) -> Table {
        let mut table = table(&["target", "measured", "", "why not"], 1);
        let races = self.contest.iter().flat_map(|contest| &contest.races);
        let races = races.flat_map(|race| [Target::tail(race), Target::no_failure(race)]);
        let micro = self.micro.iter();
        let micro =
            micro.flat_map(|(native, _)| [Target::picks(native), Target::slowest_pick(native)]);
        let scale = self.scale.iter().flat_map(|scale| &scale.results);
        let scale = scale.filter(|measured| measured.case.is_large());
        let targets = races
            .flatten()
            .chain(self.cpu.iter().flat_map(Target::all_of_cpu))
            .chain(self.propagation.iter().flat_map(Target::all_of_propagation))
            .chain(scale.clone().map(Target::scale))
            .chain(scale.map(Target::resolved))
            .chain(micro)
            .chain(self.starts.as_ref().and_then(Target::start))
            .chain(Target::all_of_size(self.sizes[0]));
        for Target { aim, measured, verdict } in targets {
            table.add_row([&aim, &measured, verdict.text(), verdict.reason()]);
        }
        table
    }
}

fn contest_section(contest: &Contest) -> String {
    let Contest { rounds, races } = contest;
    let races: Vec<_> = races.iter().map(race_section).collect();
    let slowness = Scene::SLOWNESS.as_millis();
    let (failures, retries) = (Scene::FAILURE_PERCENT, Contender::ATTEMPTS - 1);
    format!(
        "## Backends in trouble\n\n\
         Five backends: two good ones, one that takes {slowness} ms, one that answers {failures} % \
         of its requests with 503, and one that is killed in the middle. Consul lists all five to \
         the end. Both sides are `envoy/envoy.yaml`, so the hosts are the same ones of Envoy's \
         cluster, with its outlier detection and health checks; where Envoy balances, the filter and \
         `stateful_session` are on no request's way. Both have {retries} retries of a GET on \
         another host, on `connect-failure`, `refused-stream`, `reset` and `gateway-error`. Each \
         run has a new Envoy with one worker, so finding out who is in trouble is part of it; \
         rounds, interleaved: {rounds}. *p99*: the median of the rounds' p99, and the least and the \
         greatest of them; all else is of all requests. Latencies are those of answers with 200; all others are \
         *failed*, though there was always an instance that could have answered. *slow*: the \
         share of answers that came from the slow backend. \
         [docs/load-balancing.md](load-balancing.md) says what the policies do.\n\n\
         ![latency over quantile](load.svg)\n\n{}",
        races.join("\n\n")
    )
}

fn race_section(race: &Race) -> String {
    let kind = match race.traffic {
        Traffic::Closed { connections, .. } => {
            format!("Closed loop: {connections} connections, each with one request at a time.")
        }
        Traffic::Open { per_second, .. } => format!(
            "Open loop: {per_second} requests a second, whatever becomes of them; a latency counts \
             from when its request was due."
        ),
    };
    let header =
        ["", "p50 ms", "p99 ms", "min–max", "p99.9 ms", "per second", "slow", "requests", "failed"];
    let mut table = table(&header, 1);
    for (contender, outcome) in &race.outcomes {
        let [p50, p999] = [0.5, 0.999].map(|part| format!("{:.2}", outcome.quantile(part)));
        let Outcome { latencies, failed, p99s, .. } = outcome;
        let p99s = Sample::new(p99s.iter().copied());
        let spread = format!("{:.1}–{:.1}", p99s.min(), p99s.max());
        let quantiles = [p50, format!("{:.2}", p99s.median()), spread, p999];
        table.add_row([contender.name()].into_iter().chain(quantiles).chain([
            thousands(outcome.throughput()),
            format!("{:.1} %", outcome.slow_percent()),
            (latencies.len() + failed).to_string(),
            failed.to_string(),
        ]));
    }
    format!("{kind}\n\n{table}")
}

fn cpu_section(cpu: &CpuTimes) -> String {
    let Amount { requests, connections, .. } = cpu.amount;
    let rounds = &cpu.rounds;
    let compared = cpu_table(cpu, false);
    let parts = cpu_table(cpu, true);
    format!(
        "## CPU per request\n\n\
         CPU time of the whole Envoy process (one worker, to the nanosecond) divided by the \
         number of requests, which come in a closed loop on {connections} kept connections and \
         go to three backends, or to one (f, s, m, k). All Envoys run side by side and are asked in turn, forwards, then \
         backwards; a round is {requests} requests to each. Medians with the quartiles, after a \
         warm-up; rounds: {rounds}; the ratios are medians of the rounds' own. The connection \
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
    let Propagation { changes, workers, rows } = propagation;
    let resolution = propagation.resolution_ms();
    let header = ["", "", "bare", "requests", "difference", "25–75 %", "p90", "max"];
    let mut table = table(&header, 2);
    for (way, came, went) in rows {
        for (kind, changes) in [("comes", came), ("goes", went)] {
            let Changes { bare, all_workers, difference, .. } = changes;
            let quartiles = [0.25, 0.75].map(|part| format!("{:.1}", difference.quantile(part)));
            table.add_row([
                way.name().to_owned(),
                kind.to_owned(),
                format!("{:.1}", bare.median()),
                format!("{:.1}", all_workers.median()),
                format!("{:.1}", difference.median()),
                quartiles.join("–"),
                format!("{:.1}", difference.quantile(0.9)),
                format!("{:.1}", difference.max()),
            ]);
        }
    }
    format!(
        "## From a change in Consul to requests\n\n\
         An instance is registered and deregistered at the agent for each way, in turn, times: {changes}; \
         each way is an Envoy with {workers} workers and a service of its own. One kept \
         connection to each worker (found by Envoy's count of the connections that each worker \
         accepted) is polled, a request every {resolution:.2} ms. *requests*: until on the last of \
         the workers the new instance has answered, or one was answered by another than that which \
         goes. *bare*: until a bare HTTP client has the answer of the same blocking query. \
         Milliseconds from the begin of the change, medians; *difference*: change by change. By \
         `envoy/native.yaml` and for an instance that comes Envoy's cluster has to have it: Consul's \
         answer, then Envoy's subscription. One that goes gets no pick from the moment in which the \
         filter knows.\n\n{table}"
    )
}

fn start_section(starts: &Starts) -> String {
    let rounds = &starts.rounds;
    let header = ["", "", "/ready ms", "25–75 %", "first 200 ms", "25–75 %", "CPU ms", "25–75 %"];
    let mut table = table(&header, 2);
    for (variant, samples) in starts.rows() {
        let mut row = vec![variant.letter().to_owned(), variant.description().to_owned()];
        for sample in samples {
            let quartiles = [0.25, 0.75].map(|part| format!("{:.0}", sample.quantile(part)));
            row.extend([format!("{:.0}", sample.median()), quartiles.join("–")]);
        }
        table.add_row(row);
    }
    format!(
        "## Start\n\n\
         From the start of the process, one worker, until the administration interface says `LIVE`, \
         and until a request was answered with 200; to about 10 ms. *CPU*: that of the process until \
         then, which does not depend on what else the machine does; nearly all of it is V8's, \
         which compiles the module. Medians of starts of each in turn: {rounds}.\n\n{table}"
    )
}

fn scale_section(scale: &Scale) -> String {
    let (workers, vms) = (Scale::WORKERS, Scale::WORKERS + 1);
    let requests = Scale::REQUESTS;
    let arrivals: Vec<_> = scale.results.iter().map(|one| one.arrivals.len().to_string()).collect();
    let (arrivals, planned) = (arrivals.join(", "), Scale::ARRIVALS);
    let phase = Scale::PHASE.as_secs();
    let rounds: Vec<_> = scale.results.iter().map(|one| one.rounds.to_string()).collect();
    let rounds = rounds.join(", ");
    let failed =
        scale.failed.iter().map(|(case, why)| format!(" **Failed**: {}: {why}.", case.name()));
    let failed: String = failed.collect();
    let connections = thousands(f64::from(Case::CONNECTIONS));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let small = scale.results.first().map_or(0, |measured| measured.memory);
    let header = [
        "",
        "resolved s",
        "MiB",
        "more per VM",
        "answer KiB",
        "read ms",
        "median ms",
        "p90 ms",
        "max ms",
    ];
    let mut sizes = table(&header, 1);
    let header =
        ["", "changes", "main", "worker", "calls/s", "p50 ms", "p99 ms", "of all", "failed"];
    let mut load = table(&header, 2);
    for measured in &scale.results {
        let name = measured.case.name();
        let more = mib(measured.memory.saturating_sub(small)) / f64::from(vms);
        let times = &measured.arrivals;
        let times = [times.median(), times.quantile(0.9), times.max()];
        let resolved = format!("{:.1}", measured.resolved.as_secs_f64());
        let memory = [format!("{:.0}", mib(measured.memory)), format!("{more:.1}")];
        let times = times.map(|number| format!("{number:.1}"));
        let (bytes, read) = &measured.answer;
        let answer = [thousands(kib(*bytes as u64)), format!("{:.1}", read.median())];
        sizes.add_row(
            [name.to_owned(), resolved].into_iter().chain(memory).chain(answer).chain(times),
        );
        for (changes, phase) in [("none", &measured.quiet), ("1/s", &measured.changing)] {
            load.add_row([
                name.to_owned(),
                changes.to_owned(),
                format!("{:.1} %", phase.main_percent()),
                format!("{:.1} %", phase.worker_percent()),
                format!("{:.1}", phase.calls_per_second()),
                format!("{:.2}", phase.outcome.quantile(0.5)),
                format!("{:.2}", phase.p99()),
                format!("{:.2}", phase.outcome.quantile(0.99)),
                phase.outcome.failed.to_string(),
            ]);
        }
    }
    format!(
        "## Large catalogs\n\n\
         `envoy/envoy.yaml` (CDS, EDS and RDS by this filter, and picks), but for health checks, with \
         {workers} workers, so {vms} VMs, and the fake Consul in a process of its own. \
         Every instance is a listener on a loopback address of its own that answers. *resolved*: \
         from the start of Envoy until its own clusters have all instances of all services, to a \
         fifth of a second. *MiB*: Envoy's resident memory, and how much more that is than for the \
         first row, divided by the number of VMs; that of the VM which asks Consul is above that \
         mean, for it alone reads the answers. *answer*: Consul's for one service, and what a bare \
         client takes to read it. Then how long a registration takes until a request on the last \
         of the workers shows it: of {planned} registrations, row by row, as many as the time \
         allowed ({arrivals}), each of an instance so heavy that \
         nearly every request goes to it, one after the other, but side by side where most services \
         are polled. *100 watched*: the default `max_watches`; *all watched*: with 1,000, and \
         {connections} for `max_connections`, `max_pending_requests` and `max_requests` of Envoy's \
         cluster for Consul.\n\n{sizes}\n\n\
         Under {requests} requests a second in an open loop, while nothing changes and while an \
         instance comes or goes once a second, of 1,000 services each time in another one: rounds \
         of {phase} s of each in turn, row by row: {rounds}.{failed} *p99*: the median of the rounds' p99; *of all*: that \
         of all requests, where a single moment in which the machine stood still shows. *main*, \
         *worker*: the main thread's and each worker's CPU time, as a share of a core; the main thread asks Consul, reads the answer and \
         publishes it, and Envoy's part of it reads the assignment and tells the workers. Where there \
         are 10,000 instances nearly every request opens a connection. A query in which nothing changes is answered after 55 to 58.4 s and \
         asked anew: 1,000 of them make 17.6 calls a second in the long run, and come in waves \
         where they began together. Those that are polled are asked for at 20 a second. *a bare \
         client reads 10,000*: the service of 10,000 changes, which Envoy does not know, and a \
         client watches it and drops what it reads: that is what Consul and a reader alone do to \
         an Envoy on the same cores.\n\n{load}"
    )
}

fn micro_section(native: &[Measurement], in_module: &InModule) -> String {
    let header = ["", "", "weights", "10", "1,000", "10,000", "in V8: 10", "1,000", "10,000"];
    let mut table = table(&header, 3);
    let mut names: Vec<_> = native.iter().map(Measurement::name).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (what, how, weights) = name;
        let mut row = vec![what.to_owned(), how.to_owned(), weights.to_owned()];
        let of_it = native.iter().filter(|m| m.name() == name);
        row.extend(of_it.clone().map(|m| thousands(m.median_ns)));
        row.extend(of_it.map(|m| in_module.of(m).map_or_else(String::new, thousands)));
        table.add_row(row);
    }
    let (rounds, fewer) = (Measurement::ROUNDS, Measurement::ROUNDS_IN_MODULE);
    format!(
        "## Picks and installs\n\n\
         For 10, 1,000 and 10,000 endpoints, natively and in the module by Envoy's own engine; one \
         thread; nanoseconds, median of {rounds} rounds natively and {fewer} in the module. *pick*: choose an endpoint and end an older request, 64 in flight. *decide*: a request's whole way from its host to \
         the handoff. *install*: the first snapshot of a service and its first request, which \
         builds the table of a policy that hashes. *update*: the same of a snapshot in which one \
         endpoint has gone or come back.\n\n{table}"
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
