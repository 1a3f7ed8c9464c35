//! The documentation is executed: every configuration in it is read, and every metric and
//! error that it names exists.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use consul_resolver::config::{Config, Handoff};
use consul_resolver::handoff::headers::HANDOFF_HEADERS;
use consul_resolver::registry::error_kind::ErrorKind;
use consul_resolver::router::reply::ReplyReason;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Our own Markdown files.
fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).expect("docs");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    let is_markdown = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "md");
    let top = ["README.md", "CHANGELOG.md"].map(|name| root().join(name));
    top.into_iter().chain(docs.filter(is_markdown)).collect()
}

/// The code blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == format!("```{language}") {
            found.push(
                lines.by_ref().take_while(|l| l.trim() != "```").collect::<Vec<_>>().join("\n"),
            );
        }
    }
    found
}

/// Reads a YAML configuration of the filter the way Envoy hands it over.
fn parse(yaml: &str) -> Config {
    let value: serde_json::Value = serde_yaml_ng::from_str(yaml).expect("YAML");
    let json = serde_json::to_vec(&value).expect("JSON");
    Config::parse(&json).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

#[test]
fn every_configuration_in_the_documentation_is_accepted() {
    let mut configurations = 0;
    for document in documents() {
        for block in blocks(&read(&document), "yaml") {
            parse(&block);
            configurations += 1;
        }
        for block in blocks(&read(&document), "json") {
            Config::parse(block.as_bytes()).expect("a configuration");
            configurations += 1;
        }
    }
    assert!(configurations > 0, "no configuration was found");
}

#[test]
fn every_piece_of_envoys_configuration_is_an_object() {
    let pieces = |page| blocks(&read(page), "yaml envoy");
    let pages = ["README.md", "docs/envoy.md", "docs/load-balancing.md"].map(pieces);
    assert_eq!(pages.each_ref().map(Vec::len), [1, 2, 5]);
    for piece in pages.into_iter().flatten() {
        let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(&piece).expect("YAML");
        assert!(value.is_mapping(), "{piece}");
    }
}

#[test]
fn every_metric_that_the_filter_defines_is_on_its_page() {
    let page = read("docs/metrics.md");
    let source = ["metrics", "service_metrics", "source_metrics"]
        .map(|file| read(format!("src/proxy/{file}.rs")))
        .concat();
    for kind in ErrorKind::ALL {
        assert!(page.contains(&format!("`{}`", kind.label())), "{}", kind.label());
    }
    for reason in ReplyReason::ALL {
        assert!(page.contains(&format!("`{}`", reason.label())), "{}", reason.label());
    }
    let after = |text: &str, before: &str| -> Vec<String> {
        let rest = text.split(before).skip(1).filter_map(|rest| rest.split('"').next());
        rest.map(str::to_owned).collect()
    };
    let defined = |text: &str| {
        ["(&name(\"", " gauge(\"", " named(\""].map(|before| after(text, before)).concat()
    };
    let names = defined(&source);
    assert!(names.len() >= 15, "{names:?}");
    for name in names {
        let row = format!("| `service.<name>.{name}` |");
        assert!(page.contains(&row), "the table has no row {row}");
    }
    // Those of a source are those of the catalog, too, some by other names.
    let of_source = source.split("fn define_as(").nth(1).expect("where they are defined");
    let of_source = defined(of_source.split("\n    }\n").next().expect("the end"));
    assert_eq!(of_source.len(), 9, "{of_source:?}");
    for name in of_source.iter().filter(|name| *name != "denied_instances") {
        let name = match name.as_str() {
            "endpoints" => "services",
            "faulty_instances" => "left_out",
            other => other,
        };
        assert!(page.contains(&format!("`catalog.{name}`")), "catalog.{name}");
    }
    // Those of Envoy's subscriptions.
    let subscriptions = read("src/proxy/subscriptions.rs");
    let names = subscriptions.split("let counters = [").nth(1).expect("a list");
    let names = names.split(']').next().expect("its end").split('"').skip(1).step_by(2);
    for name in names.inspect(|name| assert!(!name.is_empty())).map(|it| format!("`xds.{it}`")) {
        let mut rows = page.lines().filter(|line| line.starts_with("| `xds."));
        assert!(rows.any(|row| row.contains(&name)), "the table does not have {name}");
    }
    // Those whose names are whole, and the prefixes of what several services share.
    let found = read("src/proxy/service_metrics.rs");
    let whole = |text: &str| -> Vec<String> {
        let names = text.split("(\"consul_resolver.").skip(1);
        let until_it_varies = |rest: &str| rest.split(['"', '{']).next().map(str::to_owned);
        names.filter_map(until_it_varies).map(|name| name.trim_end_matches('.').into()).collect()
    };
    let names = [whole(&source), whole(&found)].concat();
    assert!(names.iter().any(|name| name == "catalog"), "{names:?}");
    assert!(names.iter().any(|name| name == "dns_names"), "{names:?}");
    for name in names {
        let is_told = [format!("`{name}`"), format!("`{name}.")].iter().any(|it| page.contains(it));
        assert!(is_told, "the table does not have {name}");
    }
}

#[test]
fn every_metric_of_subscriptions_is_on_its_page() {
    let source = read("src/proxy/subscriptions.rs");
    let list = source.split("let counters = [").nth(1).expect("a list");
    let list = list.split(']').next().expect("its end");
    let defined: BTreeSet<&str> = list.split('"').skip(1).step_by(2).collect();
    assert!(defined.len() >= 8, "{defined:?}");
    let page = read("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `xds."));
    // The first cell of a metric's row has nothing but names; those of settings have other rows.
    let names = |row: &str| -> Vec<String> {
        let cells: Vec<&str> = row.split(" | ").collect();
        let is_metric = cells
            .get(1)
            .is_some_and(|kind| kind.starts_with("counter") || kind.starts_with("gauge"));
        let names = cells[0].split('`').skip(1).step_by(2).filter(|_| is_metric);
        names.filter_map(|name| name.strip_prefix("xds.")).map(str::to_owned).collect()
    };
    let told: Vec<String> = rows.flat_map(names).collect();
    assert_eq!(told.iter().map(String::as_str).collect::<BTreeSet<_>>(), defined);
}

#[test]
fn every_metric_of_registrations_is_on_its_page() {
    let page = read("docs/metrics.md");
    let source = read("src/proxy/registration_metrics.rs");
    let names = source.split("{prefix}.").skip(1).filter_map(|rest| rest.split('"').next());
    let names: Vec<&str> = names.filter(|name| !name.contains('{')).collect();
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        let row = format!("| `registration.<name>.{name}` |");
        assert!(page.contains(&row), "the table has no row {row}");
    }
}

#[test]
fn every_row_stands_under_the_head_of_its_table() {
    for document in documents() {
        let text = read(&document);
        let mut lines = text.lines().peekable();
        let mut is_in_table = false;
        while let Some(line) = lines.next() {
            let is_row = line.starts_with('|');
            // A table begins with a head and a rule below it.
            let is_head = is_row
                && lines
                    .peek()
                    .is_some_and(|next| next.starts_with("|--") || next.starts_with("| --"));
            assert!(!is_row || is_in_table || is_head, "{}: {line}", document.display());
            is_in_table = is_row;
        }
    }
}

#[test]
fn clients_name_no_instance_when_a_filter_is_dead() {
    let files = fs::read_dir(root().join("envoy")).expect("envoy");
    let files = files.map(|entry| entry.expect("an entry").path());
    let mut seen = 0;
    for file in files.filter(|file| file.extension().is_some_and(|it| it == "yaml")) {
        let mut config: serde_yaml_ng::Value = serde_yaml_ng::from_str(&read(&file)).expect("YAML");
        config.apply_merge().expect("YAML");
        let listeners = config["static_resources"]["listeners"].as_sequence();
        let ingress = listeners.into_iter().flatten().find(|it| it["name"] == "ingress");
        let Some(ingress) = ingress else { continue };
        let manager = &ingress["filter_chains"][0]["filters"][0]["typed_config"];
        // Connections have no headers.
        if manager.get("http_filters").is_none() {
            continue;
        }
        let early = &manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"];
        let removed = early.as_sequence().into_iter().flatten().map(|it| it["remove"].as_str());
        let removed: Vec<&str> = removed.flatten().collect();
        let via = &manager["http_filters"][0]["typed_config"]["config"]["configuration"]["value"];
        let expected = match via["handoff"]["via"].as_str() {
            Some("headers") => HANDOFF_HEADERS.to_vec(),
            _ => vec![Handoff::SESSION_HEADER],
        };
        assert_eq!(removed, expected, "{}", file.display());
        seen += 1;
    }
    assert_eq!(seen, 7);
}

#[test]
fn the_configuration_of_the_readme_is_the_minimal_one() {
    let pieces = blocks(&read("README.md"), "yaml envoy");
    let yaml = |text: &str| serde_yaml_ng::from_str::<serde_yaml_ng::Value>(text).expect("YAML");
    assert_eq!(yaml(&pieces[0]), yaml(&read("envoy/minimal.yaml")));
}

/// Lists the anchors that GitHub makes of a page's headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter_map(|line| line.strip_prefix('#'));
    let texts = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    texts.map(|text| text.chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn links_within_the_repository_lead_somewhere() {
    for document in documents() {
        let text = read(&document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().expect("a folder").join(file),
            };
            assert!(target.exists(), "{}: {link}", document.display());
            let is_there = anchor.is_empty() || anchors(&read(&target)).contains(anchor);
            assert!(is_there, "{}: {link} leads to no heading", document.display());
        }
    }
}

#[test]
fn every_file_that_the_architecture_names_exists() {
    let page = read("docs/architecture.md");
    let files = page.split('`').skip(1).step_by(2).filter(|name| name.ends_with(".rs"));
    let files: Vec<&str> = files.filter(|name| !name.contains('{')).collect();
    assert!(files.len() >= 20, "{files:?}");
    for file in files {
        let folders = ["", "src", "tests/simulation"].map(|folder| root().join(folder));
        let is_there = folders.iter().any(|folder| folder.join(file).is_file());
        assert!(is_there, "{file} does not exist");
    }
}

#[test]
fn the_listed_capabilities_are_what_the_module_uses() {
    let source = |name: &str| read(root().join("src/proxy").join(name));
    let (imports, exports) = (source("abi.rs"), source("exports.rs"));
    let named = |text: &str| -> BTreeSet<String> {
        let names = text.split("fn proxy_").skip(1).filter_map(|rest| rest.split('(').next());
        names.map(|name| format!("proxy_{name}")).filter(|name| !name.contains("_abi_")).collect()
    };
    // What the standard library calls has no line in the sources.
    let of_wasi = ["random_get", "clock_time_get", "environ_get", "environ_sizes_get", "fd_write"];
    let mut used: BTreeSet<String> = of_wasi.map(str::to_owned).into();
    used.extend(named(&imports));
    used.extend(named(&exports));
    let page = read("docs/envoy.md");
    let mut blocks = page.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
    let list = blocks.find(|block| block.starts_with("proxy_on_")).expect("the list");
    let told: BTreeSet<String> = list.split_whitespace().map(str::to_owned).collect();
    assert_eq!(told, used);
}
