//! Viewer and camera in one network, without any server: in the simulator, where time is exact, and with the real programs in
//! network namespaces that have no way outside.

#[cfg(target_os = "linux")]
mod namespaces;
mod simulated;
