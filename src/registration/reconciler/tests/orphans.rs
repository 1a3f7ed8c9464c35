//! The removal of registrations that no configuration contains any more.

use core::time::Duration;

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::script::response;
use crate::registration::agent_call::AgentCall;
use crate::registration::desired_state::{DesiredState, Orphan};
use crate::registration::reconciler::Reconciler;
use crate::registry::consul::registration::Id;
use crate::registry::http::{CallFailure, Refusal};
use crate::shared::source_record::Term;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The text of the event of a removal.
const REMOVED: &str = "deregistered: the configuration has it no more";

/// Removes an orphan of cluster `old`, where the configuration has cluster `new`, against these
/// responses by cluster and call. Returns the calls and the texts of the events.
fn remove(
    is_wanted: bool,
    mut respond: impl FnMut(&str, AgentCall) -> Result<(u16, String), Refusal>,
) -> (Vec<String>, Vec<String>) {
    let id = Id { cluster: "old".into(), id: "edge-1".into(), namespace: None, partition: None };
    let orphan = Orphan { id, configured: "new".to_owned(), is_wanted, token_env: None };
    let mut reconciler = Reconciler::new(&DesiredState::Absent(orphan), Term(1), false, Time::ZERO);
    let (mut calls, mut events, mut rng) = (Vec::new(), Vec::new(), Rng::new(1));
    for seconds in 0..100 {
        let now = Time::from_start(Duration::from_secs(seconds));
        let Some(call) = reconciler.next_call(now) else { break };
        let (id, request) = reconciler.start(call, now);
        let cluster = request.cluster;
        calls.push(format!("{cluster} {call:?}"));
        let content = respond(&cluster, call);
        let response = content.as_ref().map(|(status, body)| response(*status, false, body));
        let response = response.map_err(|refusal| CallFailure::Refused(*refusal));
        assert!(reconciler.on_response(id, response, now, &mut rng, &mut events).is_some());
    }
    assert!(reconciler.is_removed(), "{calls:?}");
    (calls, events.iter().map(ToString::to_string).collect())
}

/// Responds as an agent of that node without the service.
fn without(node: &str, call: AgentCall) -> (u16, String) {
    match call {
        AgentCall::Identify => {
            (200, format!(r#"{{"Config":{{"NodeName":"{node}","Datacenter":"dc1"}}}}"#))
        }
        AgentCall::Read => (404, "unknown service ID: edge-1".to_owned()),
        // As Consul 1.8 does.
        _ => (200, String::new()),
    }
}

#[test]
fn removal_uses_the_cluster_of_the_registration() {
    let (calls, texts) = remove(false, |_, call| Ok(without("n", call)));
    assert_eq!(calls, ["old Deregister", "old Read", "old Read", "old Read"]);
    assert_eq!(texts, [REMOVED]);
}

// Promise: R-708
#[test]
fn removal_uses_the_configured_cluster_when_the_old_is_gone() {
    let (calls, texts) = remove(false, |cluster, call| match cluster {
        "old" => Err(Refusal::UnknownCluster),
        _ => Ok(without("n", call)),
    });
    assert_eq!(calls, ["old Deregister", "new Deregister", "new Read", "new Read", "new Read"]);
    assert_eq!(texts, [REMOVED]);
}

#[test]
fn wanted_registration_stays_when_one_agent_has_both() {
    let (calls, texts) = remove(true, |_, call| Ok(without("n", call)));
    assert_eq!((calls.len(), texts), (2, vec![]), "{calls:?}");
    let (calls, texts) = remove(true, |cluster, call| Ok(without(cluster, call)));
    assert_eq!(calls[..3], ["old Identify", "new Identify", "old Deregister"]);
    assert_eq!(texts, [REMOVED]);
    let denied = |_: &str, _| Ok((403, "Permission denied".to_owned()));
    let (calls, texts) = remove(true, denied);
    assert_eq!(calls, ["old Identify"]);
    assert!(texts[0].contains("may not know (agent:read)"), "{texts:?}");
    for goes_at in [0, 2] {
        let mut count = 0;
        let (calls, texts) = remove(true, |cluster, call| {
            count += 1;
            match cluster {
                "old" if count > goes_at => Err(Refusal::UnknownCluster),
                _ => Ok(without(cluster, call)),
            }
        });
        assert!(!calls.iter().any(|it| it == "new Deregister"), "{calls:?}");
        assert!(texts[0].contains("has no longer the cluster"), "{texts:?}");
    }
}

#[test]
fn removal_is_not_reported_when_another_agent_may_have_it() {
    for agents in [2, 3] {
        let mut has = vec![false; agents];
        has[1] = true;
        let mut turn = 0;
        let (calls, texts) = remove(false, |_, call| {
            let has = &mut has[turn % agents];
            turn += 1;
            Ok(match call {
                AgentCall::Read if *has => (200, "{}".to_owned()),
                AgentCall::Deregister => {
                    *has = false;
                    (200, String::new())
                }
                call => without("n", call),
            })
        });
        assert!(!has.iter().any(|has| *has), "{calls:?}");
        assert!(texts.len() == 1 && texts[0].contains("several agents answer"), "{texts:?}");
    }
}
