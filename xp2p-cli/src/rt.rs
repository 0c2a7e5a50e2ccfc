//! The runtime that the program is built for: smol, or tokio with `--features tokio`.

#[cfg(not(feature = "tokio"))]
mod chosen {
    pub(crate) use xp2p_smol::{Smol as Rt, ViewerHandle, Watcher};

    /// Smol starts its threads when they are needed.
    pub(crate) fn start() -> std::io::Result<()> {
        Ok(())
    }

    pub(crate) fn rt() -> Rt {
        Rt
    }
}

#[cfg(feature = "tokio")]
mod chosen {
    use std::sync::OnceLock;

    use tokio::runtime::{Builder, Runtime};
    pub(crate) use xp2p_tokio::{Tokio as Rt, ViewerHandle, Watcher};

    static RUNTIME: OnceLock<Runtime> = OnceLock::new();

    /// Starts tokio's threads, which run until the program ends.
    pub(crate) fn start() -> std::io::Result<()> {
        let runtime = Builder::new_multi_thread().enable_io().enable_time().build()?;
        // There is none yet: `main` calls this once.
        let _ = RUNTIME.set(runtime);
        Ok(())
    }

    pub(crate) fn rt() -> Rt {
        Rt::new(RUNTIME.get().expect("`main` starts it first").handle().clone())
    }
}

pub(crate) use self::chosen::{Rt, ViewerHandle, Watcher, rt, start};
