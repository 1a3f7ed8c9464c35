//! What the bench `micro` measures, measured by the crate `picks` in Envoy's own engine.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use stack::{Envoy, wait_until};

use crate::Failure;
use crate::measurement::Measurement;

/// Medians in nanoseconds, by what they are of and the number of endpoints.
#[derive(Debug)]
pub struct InModule(BTreeMap<String, f64>);

impl InModule {
    /// Runs the module in an Envoy without listeners, and reads its log.
    pub fn measure(module: &Path) -> Result<Self, Failure> {
        const WITHIN: Duration = Duration::from_secs(300);
        let yaml = format!(
            "bootstrap_extensions:
- name: envoy.bootstrap.wasm
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.wasm.v3.WasmService
    singleton: true
    config:
      name: picks
      vm_config:
        vm_id: picks
        runtime: envoy.wasm.runtime.v8
        code: {{local: {{filename: {}}}}}",
            std::path::absolute(module)?.display()
        );
        // It is ready when its main thread has measured.
        let envoy = Envoy::builder(yaml).ready_within(WITHIN).start()?;
        if !wait_until(WITHIN, || envoy.log().contains("measured all")) {
            return Err(format!("{}:\n{}", module.display(), envoy.process().log_tail(30)).into());
        }
        let log = envoy.log();
        let lines = log.lines().filter_map(|line| line.split_once("measured\t"));
        let medians = lines.map(|(_, line)| {
            let (key, median) = line.rsplit_once('\t').ok_or("a line without a number")?;
            Ok((key.to_owned(), median.parse()?))
        });
        Ok(Self(medians.collect::<Result<_, Failure>>()?))
    }

    /// The same as this, in the module.
    pub fn of(&self, native: &Measurement) -> Option<f64> {
        let (what, how, weights) = native.name();
        let endpoints = native.endpoints;
        self.0.get(&format!("{what}\t{how}\t{weights}\t{endpoints}")).copied()
    }
}
