//! The functions that Envoy calls (proxy-wasm ABI 0.2.1): the only file that exports to it.
//!
//! Envoy calls exactly the functions that a module exports. So no callback here does nothing,
//! because each is a call into the VM for each request, or for each part of its body.

#![expect(unsafe_code, reason = "an exported name is one for the whole module")]

use std::cell::RefCell;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::proxy::filter::Filter;
use crate::proxy::root::Root;
use crate::proxy::{abi, host};

/// The contexts of this VM, by Envoy's numbers. None is borrowed while it is at work, so that a
/// callback always finds it.
#[derive(Default)]
struct Contexts {
    roots: RefCell<HashMap<u32, Rc<Root>>>,
    requests: RefCell<HashMap<u32, Rc<Filter>>>,
}

thread_local! {
    static CONTEXTS: Contexts = Contexts::default();
}

fn root(context: u32) -> Option<Rc<Root>> {
    CONTEXTS.with(|contexts| contexts.roots.borrow().get(&context).map(Rc::clone))
}

fn request(context: u32) -> Option<Rc<Filter>> {
    CONTEXTS.with(|contexts| contexts.requests.borrow().get(&context).map(Rc::clone))
}

/// Names the version of the ABI; never called.
#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

/// Starts a module that has no `main`. Called once, before all other calls.
#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    unsafe extern "C" {
        /// Runs the constructors that the linker has collected. If nothing calls it, the linker
        /// makes each exported function do so.
        fn __wasm_call_ctors();
    }
    // SAFETY: it is called once, and first.
    unsafe { __wasm_call_ctors() };
    host::start_logging();
}

/// Allocates memory for data of the host.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    abi::allocate(size)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    if parent == 0 {
        let new = Rc::new(Root::new(context));
        CONTEXTS.with(|contexts| contexts.roots.borrow_mut().insert(context, new));
    } else {
        let new = Rc::new(Filter::new(context, root(parent).and_then(|root| root.plugin())));
        CONTEXTS.with(|contexts| contexts.requests.borrow_mut().insert(context, new));
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(context: u32, size: usize) -> bool {
    root(context).is_some_and(|root| root.on_configure(size))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(context: u32) {
    if let Some(root) = root(context) {
        root.on_tick();
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_queue_ready(context: u32, queue: u32) {
    if let Some(root) = root(context) {
        root.on_queue_ready(queue);
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(
    context: u32,
    callout: u32,
    headers: usize,
    body_size: usize,
    _trailers: usize,
) {
    if let Some(root) = root(context) {
        root.on_callout(callout, headers, body_size);
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(context: u32, _headers: usize, ended: bool) -> u32 {
    request(context).map_or(0, |request| request.on_headers(ended) as u32)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(context: u32, size: usize, ended: bool) -> u32 {
    request(context).map_or(0, |request| request.on_body(size, ended) as u32)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(context: u32, _headers: usize, ended: bool) -> u32 {
    const CONTINUE: u32 = 0;
    if let Some(request) = request(context) {
        request.on_response(ended);
    }
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_trailers(context: u32, _trailers: usize) -> u32 {
    const CONTINUE: u32 = 0;
    if let Some(request) = request(context) {
        request.on_answer_trailers();
    }
    CONTINUE
}

/// Forgets a context. Without `proxy_on_done` Envoy calls this at once.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    let request = CONTEXTS.with(|contexts| contexts.requests.borrow_mut().remove(&context));
    if let Some(request) = request {
        return request.on_delete();
    }
    let root = CONTEXTS.with(|contexts| contexts.roots.borrow_mut().remove(&context));
    if let Some(root) = root {
        root.on_delete();
    }
}
