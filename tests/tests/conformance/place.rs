//! Where a scenario happens: the runtimes of the server, the camera and the viewer.

use std::future::Future;
use std::time::Duration;

use futures_lite::future::{block_on, or};
use xp2p_smol::Smol;
use xp2p_smol::driver::runtime::{Runtime, sleep};
use xp2p_tokio::Tokio;

/// No scenario takes nearly as long, on whatever machine; past it something hangs.
const HANGS: Duration = Duration::from_secs(120);

pub(crate) struct Place<S, C, V> {
    pub(crate) server: S,
    pub(crate) camera: C,
    pub(crate) viewer: V,
    /// Runs for as long as the place is there.
    tokio: Option<tokio::runtime::Runtime>,
}

fn many_threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn on(runtime: &tokio::runtime::Runtime) -> Tokio {
    Tokio::new(runtime.handle().clone())
}

pub(crate) fn smol_smol() -> Place<Smol, Smol, Smol> {
    Place { server: Smol, camera: Smol, viewer: Smol, tokio: None }
}

pub(crate) fn tokio_tokio() -> Place<Tokio, Tokio, Tokio> {
    let tokio = many_threads();
    Place { server: on(&tokio), camera: on(&tokio), viewer: on(&tokio), tokio: Some(tokio) }
}

/// All of tokio on the one thread of the test.
pub(crate) fn tokio_one_thread() -> Place<Tokio, Tokio, Tokio> {
    let tokio = one_thread();
    Place { server: on(&tokio), camera: on(&tokio), viewer: on(&tokio), tokio: Some(tokio) }
}

pub(crate) fn smol_viewer_tokio_camera() -> Place<Tokio, Tokio, Smol> {
    let tokio = many_threads();
    Place { server: on(&tokio), camera: on(&tokio), viewer: Smol, tokio: Some(tokio) }
}

pub(crate) fn tokio_viewer_smol_camera() -> Place<Smol, Smol, Tokio> {
    let tokio = one_thread();
    Place { server: Smol, camera: Smol, viewer: on(&tokio), tokio: Some(tokio) }
}

impl<S: Runtime, C: Runtime, V: Runtime> Place<S, C, V> {
    /// Runs a scenario to its end.
    pub(crate) fn run(&self, scenario: impl Future<Output = ()>) {
        let hangs = async {
            sleep(&self.viewer, HANGS).await;
            panic!("no end after {HANGS:?}");
        };
        let all = or(scenario, hangs);
        match &self.tokio {
            Some(tokio) => tokio.block_on(all),
            None => block_on(all),
        }
    }

    pub(crate) async fn pause(&self, time: Duration) {
        sleep(&self.viewer, time).await;
    }

    /// Waits until something is so, for as long as it takes.
    pub(crate) async fn until(&self, mut is: impl AsyncFnMut() -> bool) {
        while !is().await {
            self.pause(Duration::from_millis(10)).await;
        }
    }
}
