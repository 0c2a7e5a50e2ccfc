//! What each runtime must do for the driver.

use std::time::{Duration, Instant};

use futures_lite::future::{or, zip};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _};
use xp2p_smol::driver::runtime::{Listener as _, Runtime, Timer};

use crate::home::anywhere;
use crate::place::Place;

async fn fired(timer: &mut impl Timer) {
    std::future::poll_fn(|cx| timer.poll(cx)).await;
}

/// Never early, as often as wanted, earlier or later than before, and never when switched off.
pub(crate) async fn timers<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    one(&place.camera).await;
    one(&place.viewer).await;

    async fn one<R: Runtime>(runtime: &R) {
        let mut timer = runtime.timer();
        let mut other = runtime.timer();
        let soon = |ms| Some(Instant::now() + Duration::from_millis(ms));
        for ms in [20, 0, 1, 30] {
            let at = soon(ms).expect("a time");
            timer.reset(Some(at));
            // Set again to the same, as an event loop does.
            timer.reset(Some(at));
            fired(&mut timer).await;
            assert!(Instant::now() >= at, "{ms} ms");
            // It stays due until it is set again.
            fired(&mut timer).await;
        }
        // Put off, brought forward, put back to where it was.
        let early = soon(60);
        timer.reset(early);
        timer.reset(soon(3_600_000));
        other.reset(soon(80));
        assert!(
            or(silent(&mut timer), async {
                fired(&mut other).await;
                true
            })
            .await
        );
        timer.reset(early);
        fired(&mut timer).await;
        // Off: only the other one fires.
        timer.reset(soon(10));
        timer.reset(None);
        other.reset(soon(50));
        assert!(
            or(silent(&mut timer), async {
                fired(&mut other).await;
                true
            })
            .await
        );
    }

    /// False when it fires.
    async fn silent(timer: &mut impl Timer) -> bool {
        fired(timer).await;
        false
    }
}

pub(crate) async fn tcp_and_names<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let mut listener = place.camera.listen(anywhere()).expect("a listener");
    let at = listener.local_addr().expect("an address");
    let names = place.viewer.resolve("localhost".to_owned(), at.port()).await.expect("a name");
    assert!(names.iter().all(|a| a.ip().is_loopback() && a.port() == at.port()), "{names:?}");
    assert!(place.viewer.resolve("no.such.host.invalid".to_owned(), 1).await.is_err());

    // More than the buffers hold, both ways at the same time.
    let sent: Vec<u8> = (0..4_000_000_u32).map(|n| n as u8).collect();
    let echo = async {
        let (tcp, _) = listener.accept().await.expect("a connection");
        let (mut from, mut to) = futures_lite::io::split(tcp);
        futures_lite::io::copy(&mut from, &mut to).await.expect("a copy");
        to.close().await.expect("an end");
    };
    let talk = async {
        let tcp = place.viewer.connect(at).await.expect("a connection");
        let (mut from, mut to) = futures_lite::io::split(tcp);
        let mut came = vec![0; sent.len()];
        let write = async { to.write_all(&sent).await.expect("written") };
        zip(write, async { from.read_exact(&mut came).await.expect("read") }).await;
        assert!(came == sent);
    };
    // The echo ends when both halves of the other end are dropped.
    zip(echo, talk).await;
    drop(listener);
    assert!(place.viewer.connect(at).await.is_err(), "nobody listens any more");
}

pub(crate) async fn blocking_work<S: Runtime, C: Runtime, V: Runtime>(place: &Place<S, C, V>) {
    let here = std::thread::current().id();
    // One waits for what the other does: they must not share a thread.
    let (tell, told) = async_channel::bounded(1);
    let first =
        place.viewer.unblock(move || (told.recv_blocking().expect("told"), std::thread::current().id()));
    let second = place.viewer.unblock(move || tell.send_blocking(7).expect("heard"));
    let ((number, there), ()) = zip(first, second).await;
    assert_eq!(number, 7);
    assert_ne!(here, there, "the runtime's threads stay free");
}
