//! The description of fields in the module: none. The compiler drops all that would record one.

use core::any::Any;
use core::convert::Infallible;
use core::ops::RangeInclusive;
use core::time::Duration;

use serde_json::Value;

use super::object::Field;

/// Has no value.
#[derive(Clone)]
pub(super) struct Recorder(Infallible);

impl Recorder {
    pub(super) fn record(&self, _: Shape) {
        match self.0 {}
    }

    pub(super) fn add(&self, _: &'static str) {
        match self.0 {}
    }

    pub(super) fn record_key(&self, _: usize, _: &dyn Fn(char) -> bool) {
        match self.0 {}
    }

    pub(super) fn part(&self) -> Self {
        match self.0 {}
    }

    pub(super) fn outline(&self, _: &'static str) -> Outline {
        match self.0 {}
    }
}

/// Has no value.
pub(super) struct Outline(Infallible);

impl Outline {
    pub(super) fn part(&self) -> Recorder {
        match self.0 {}
    }

    pub(super) fn require(&mut self, _: &'static str) {
        match self.0 {}
    }

    pub(super) fn add(&mut self, _: Field, _: &Recorder, _: Option<&dyn Any>) {
        match self.0 {}
    }

    pub(super) fn describe(&mut self, _: &'static str) {
        match self.0 {}
    }

    pub(super) fn merge(&mut self, _: Value) {
        match self.0 {}
    }

    pub(super) fn finish(self) {
        match self.0 {}
    }
}

/// Says nothing.
pub(super) struct Shape;

impl Shape {
    pub(super) fn string() -> Self {
        Self
    }

    pub(super) fn text(_: usize, _: &dyn Fn(char) -> bool) -> Self {
        Self
    }

    pub(super) fn boolean() -> Self {
        Self
    }

    pub(super) fn only_true() -> Self {
        Self
    }

    pub(super) fn number(_: &RangeInclusive<u32>) -> Self {
        Self
    }

    pub(super) fn integer(_: &RangeInclusive<u32>) -> Self {
        Self
    }

    pub(super) fn duration(_: &RangeInclusive<Duration>, _: bool) -> Self {
        Self
    }

    pub(super) fn one_of<T>(_: &'static [(&'static str, T)]) -> Self {
        Self
    }

    pub(super) fn fields_of(_: &'static str) -> Self {
        Self
    }

    #[expect(clippy::extra_unused_type_parameters, reason = "as where fields are described")]
    pub(super) fn array<T>(_: usize, _: Recorder) -> Self {
        Self
    }

    pub(super) fn map(_: usize, _: Recorder) -> Self {
        Self
    }

    pub(super) fn either(_: Recorder, _: Recorder) -> Self {
        Self
    }
}
