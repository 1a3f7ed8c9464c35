//! A VM that fetches a second time tells again what it had told the first time: the metrics
//! began anew with it.

use consul_resolver::election::lease;

use crate::testkit::script::Script;
use crate::testkit::vm::millis;

#[test]
fn rejected_instances_are_told_again_when_a_vm_fetches_again() {
    let mut script = Script::new();
    let request = script.request().unwrap();
    script.respond(&request, 7, &[80, 0]);
    assert_eq!(script.vm.host.registry.rejections, 1);
    script.run_to(1_000);
    script.request().expect("the query that blocks");

    script.lose_lease();
    script.run_to(2_000);
    assert!(script.request().is_none(), "another VM fetches");
    script.run_to(2_000 + millis(lease::PERIOD));
    let request = script.request().expect("it fetches again");
    script.respond(&request, 7, &[80, 0]);
    assert_eq!(script.vm.host.registry.rejections, 2);
}
