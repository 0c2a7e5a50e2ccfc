//! What is particular to tokio: inside and outside of a runtime, and what is left when it is gone.

use std::net::SocketAddr;
use std::time::Duration;

use futures_lite::future::{block_on, poll_once};
use tokio::runtime::{Builder, Runtime};
use xp2p_proto::keys::SecretKey;
use xp2p_proto::link::Entropy;
use xp2p_proto::viewer::ViewerConfig;
use xp2p_smol::driver::handle::Gone;
use xp2p_smol::driver::runtime::{Listener as _, Runtime as _, sleep};
use xp2p_tokio::{P2pModule, Tokio, ViewerHandle};

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn viewer(tokio: &Tokio) -> ViewerHandle {
    let secret = SecretKey::from_bytes(tokio.random().expect("randomness"));
    let config = ViewerConfig::new(secret, Entropy::from_os(tokio.random().expect("randomness")));
    ViewerHandle::spawn(tokio, anywhere(), config).expect("a viewer")
}

#[test]
fn outside_of_a_runtime_there_is_an_error_that_says_so() {
    let error = Tokio::current().expect_err("none here");
    assert!(error.to_string().contains("needs a tokio runtime"), "{error}");
    let inside = one_thread().block_on(async { Tokio::current().map(|_| ()) });
    inside.expect("one here");
}

/// Once there is a runtime, calls may come from anywhere: here from a thread that is in none.
#[test]
fn calls_from_outside_go_to_the_runtime_all_the_same() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let tokio = Tokio::from(runtime.handle().clone());
    block_on(async {
        sleep(&tokio, Duration::from_millis(1)).await;
        assert_eq!(tokio.unblock(|| 7).await, 7);
        let mut listener = tokio.listen(anywhere()).expect("a listener");
        let at = listener.local_addr().expect("bound");
        let (accepted, connected) = futures_lite::future::zip(listener.accept(), tokio.connect(at)).await;
        accepted.expect("a connection");
        connected.expect("a connection");
        let viewer = viewer(&tokio);
        viewer.machine().call(|_, _| ()).await.expect("running");
        viewer.shutdown().await;
        P2pModule::new(tokio.clone()).expect("randomness");
    });
}

/// Its tasks are dropped wherever they are. Nobody waits for them for ever: not for what was asked before, nor after.
#[test]
fn handles_outlive_their_runtime_and_say_so() {
    let runtime = one_thread();
    let tokio = Tokio::new(runtime.handle().clone());
    // Never polled, because nobody drives the runtime.
    let (idle, viewer) = (viewer(&tokio), viewer(&tokio));
    runtime.block_on(async { viewer.machine().call(|_, _| ()).await.expect("running") });
    block_on(async {
        let mut before = std::pin::pin!(viewer.machine().call(|_, _| ()));
        assert!(poll_once(&mut before).await.is_none());
        drop(runtime);
        assert_eq!(before.await, Err(Gone::ShutDown));
        assert_eq!(viewer.machine().call(|_, _| ()).await, Err(Gone::ShutDown));
        viewer.shutdown().await;
        idle.shutdown().await;
    });
}
