//! What the demo shows at the start: what is running, and what to try.

use std::net::SocketAddr;

use super::{Parts, SERVICE};
use crate::Failure;
use crate::style::{BOLD, COMMAND, DIM, RESET};

pub fn show(parts: &Parts, port: u16) -> Result<(), Failure> {
    let consul = parts.registry.as_dyn().address();
    running(parts, port, consul);
    let victim = parts.backends.get(1).map(|backend| backend.process().pid());
    let program = program()?;
    let json = format!(
        r#"{{"Name":"{SERVICE}","ID":"web-5","Address":"127.0.0.1","Port":9000,"Check":{{"HTTP":"http://127.0.0.1:9000/health","Interval":"1s"}}}}"#
    );
    let tries = [
        (
            "every answer names its instance",
            format!("while sleep 0.2; do curl -s localhost:{port}; done"),
        ),
        ("end an instance; the others take over", format!("kill {}", victim.unwrap_or_default())),
        (
            "start a fourth; Ctrl-C there takes it away again",
            format!(
                "{program} backend --name web-4 --register http://{consul} --service {SERVICE}"
            ),
        ),
        (
            "register anything else that listens",
            format!("curl -X PUT {consul}/v1/agent/service/register -d '{json}'"),
        ),
        (
            "take an instance out for maintenance, and back with false",
            format!("curl -X PUT '{consul}/v1/agent/service/maintenance/web-1?enable=true'"),
        ),
        (
            "see what the filter counts",
            format!("curl -s '{}/stats?filter=wasmcustom'", parts.admin),
        ),
    ];
    anstream::println!("\n{BOLD}Try, in another terminal{RESET}\n");
    for (what, command) in tries {
        anstream::println!("  {DIM}# {what}{RESET}\n  {COMMAND}{command}{RESET}\n");
    }
    anstream::println!(
        "{BOLD}Ctrl-C{RESET} here stops everything. Instances of {SERVICE}, as Consul sees them:\n"
    );
    Ok(())
}

fn running(parts: &Parts, port: u16, consul: SocketAddr) {
    anstream::println!("\n{BOLD}Running{RESET}\n");
    let line = |name: &str, address: String, pid: Option<u32>, more: String| {
        let pid = pid.map(|pid| format!("pid {pid}")).unwrap_or_default();
        let name = format!("{name:<7}");
        let address = format!("{address:<24}");
        anstream::println!("  {BOLD}{name}{RESET} {address} {pid:<12} {DIM}{more}{RESET}");
    };
    let envoy = Some(parts.envoy.process().pid());
    line(
        "Envoy",
        format!("http://localhost:{port}"),
        envoy,
        format!("admin http://{}", parts.admin),
    );
    let (name, pid) = parts.registry.description();
    line(name, format!("http://{consul}"), pid, String::new());
    for backend in &parts.backends {
        let process = backend.process();
        line(
            process.name(),
            format!("http://{}", backend.address()),
            Some(process.pid()),
            String::new(),
        );
    }
}

/// Writes this program's path, relative to the current folder where it lies below it.
fn program() -> Result<String, Failure> {
    let program = std::env::current_exe()?;
    let here = std::env::current_dir()?;
    Ok(match program.strip_prefix(&here) {
        Ok(below) => format!("./{}", below.display()),
        Err(_) => program.display().to_string(),
    })
}
