//! What a service depends on.

use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;
use super::object::{Object, field};
use super::selection::MAX_NAME_BYTES;
use crate::model::index_set::IndexSet;
use crate::model::service::ServiceId;

/// Services that a service depends on, and the fate of its requests while one of them is down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependencies {
    /// Other configured services, each once. None of them depends on this one, by whatever way.
    pub services: Vec<ServiceId>,
    /// Reaction while one of them has no endpoint.
    pub on_down: OnDependencyDown,
}

/// Reaction to requests for a service while one that it depends on is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnDependencyDown {
    /// They go on as always: the service may know how to do without.
    #[default]
    Serve,
    /// They are answered 503.
    Fail,
}

impl OnDependencyDown {
    /// The reactions, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] = &[("serve", Self::Serve), ("fail", Self::Fail)];

    /// A reaction of earlier versions, which is refused.
    const REMOVED: &str = "prefer_other_datacenter";

    fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        if node.value().as_str() == Some(Self::REMOVED) {
            let instead = "serve (the default) or fail";
            return Err(node.error(FieldError::RemovedChoice { found: Self::REMOVED, instead }));
        }
        node.one_of("reaction", Self::CHOICES)
    }
}

/// The names of the services that a service depends on.
pub(super) struct DependencyNames {
    pub(super) services: Vec<String>,
    pub(super) on_down: OnDependencyDown,
}

impl DependencyNames {
    const ON_DOWN: &'static str = "on_dependency_down";

    /// Reads the fields of a service that are about its dependencies.
    pub(super) fn read(service: &mut Object<'_>) -> Option<Self> {
        service.describe(
            r#"{ "dependentSchemas": { "on_dependency_down": { "required": ["depends_on"] } } }"#,
        );
        let mut services = None;
        let mut on_down = None;
        service.set_some(
            field(
                "depends_on",
                "The names of other configured services that it depends on; none of them depends on it. It \
                 is degraded while one of them has no endpoint in any of its datacenters. Default: none.",
            ),
            &mut services,
            |node| {
                node.describe(r#"{ "minItems": 1, "uniqueItems": true }"#);
                let names = node.array(Dependencies::MOST, |node| {
                    node.single_line(MAX_NAME_BYTES).map(str::to_owned)
                })?;
                if names.is_empty() {
                    let expected = "a service, or no depends_on field at all";
                    return Err(node.error(FieldError::Empty { expected }));
                }
                Ok(names)
            },
        );
        service.set_some(
            field(
                Self::ON_DOWN,
                "The fate of requests while one of `depends_on` is down: they go on (`serve`), or are \
                 answered 503 (`fail`). Default: `serve`.",
            ),
            &mut on_down,
            OnDependencyDown::read,
        );
        if service.has(Self::ON_DOWN) && !service.has("depends_on") {
            service.refuse(Self::ON_DOWN, FieldError::Needs { other: "depends_on" });
        }
        services.map(|services| Self { services, on_down: on_down.unwrap_or_default() })
    }
}

impl Dependencies {
    /// The most services that one may depend on.
    pub const MOST: usize = IndexSet::MOST;
}
