//! Who may see which camera's stream at an origin server.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use xp2p_proto::info::Capability;
use xp2p_proto::server::Door;

use super::url::TOKEN;
use crate::origin::server::{Authorize, Denied, OriginRequest, Permit};
use crate::runtime::Runtime;

/// Most cameras that are remembered after they have left.
const MAX_DOORS: usize = 10_000;

/// What a camera's stream asks of those who want it: a capability of that camera for live pictures. Streams that belong to no
/// camera are for everybody. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Doors(Arc<Mutex<BTreeMap<String, Door>>>);

impl Doors {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Door>> {
        // Nothing in here panics half-way, so what a poisoned lock holds is whole.
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// For [`OriginServerConfig::authorize`](crate::origin::server::OriginServerConfig::authorize).
    pub fn authorize<R: Runtime>(&self, runtime: &R) -> Authorize {
        let (doors, runtime) = (self.clone(), runtime.clone());
        Arc::new(move |request| {
            if !request.name.contains('/') {
                return Ok(Permit::UNLIMITED);
            }
            doors.check(request.name, token(request), runtime.unix_time().as_secs())
        })
    }

    /// It stays when the camera leaves, so that its viewers hear that it is away, not that they may not see it. False: there
    /// are too many.
    pub(super) fn set(&self, name: &str, door: Door) -> bool {
        let mut doors = self.lock();
        if doors.len() >= MAX_DOORS && !doors.contains_key(name) {
            return false;
        }
        doors.insert(name.to_owned(), door);
        true
    }

    /// The door of a stream as it is now.
    pub(super) fn get(&self, name: &str) -> Option<Door> {
        self.lock().get(name).copied()
    }

    fn check(&self, name: &str, token: Option<&str>, unix: u64) -> Result<Permit, Denied> {
        let token = token.ok_or(Denied::Unauthorized)?;
        let capability = Capability::from_base64(token).map_err(|_| Denied::Forbidden)?;
        // Whether there is such a camera is told to nobody who has none of its capabilities.
        let door = self.get(name).ok_or(Denied::Forbidden)?;
        door.check(&capability, Some(unix)).map_err(|error| {
            tracing::debug!(name, "a client was refused: {error}");
            Denied::Forbidden
        })?;
        Ok(Permit { until: capability.expiry().map(|end| Duration::from_secs(end.get())) })
    }
}

/// What a client presents: `Authorization: Bearer CAPABILITY`, or `?token=CAPABILITY` for players that send no such header.
fn token<'a>(request: &OriginRequest<'a>) -> Option<&'a str> {
    let bearer = request.header("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    bearer.or_else(|| request.param(TOKEN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;
    use xp2p_proto::info::{Right, Rights};
    use xp2p_proto::keys::SecretKey;

    #[test]
    fn only_capabilities_of_the_camera_open_its_stream() {
        let key = |n| SecretKey::from_bytes([n; 32]);
        let doors = Doors::default();
        assert!(doors.set("cam/door", Door { camera: key(1).public(), epoch: 3 }));
        let issue = |n, rights: Rights, epoch, expiry| {
            Capability::issue(&key(n), rights, epoch, NonZeroU64::new(expiry), [0; 8]).to_base64()
        };
        let check = |name: &str, token: Option<&str>| doors.check(name, token, 1_000);
        let live = Rights::from(Right::Live);
        assert_eq!(check("cam/door", Some(&issue(1, live, 3, 0))), Ok(Permit::UNLIMITED));
        let until = Some(Duration::from_secs(1_001));
        assert_eq!(check("cam/door", Some(&issue(1, Rights::ALL, 3, 1_001))), Ok(Permit { until }));
        assert_eq!(check("cam/door", None), Err(Denied::Unauthorized));
        assert_eq!(check("cam/none", None), Err(Denied::Unauthorized), "nobody learns what there is");
        for (why, token) in [
            ("of another camera", issue(2, live, 3, 0)),
            ("revoked", issue(1, live, 2, 0)),
            ("expired", issue(1, live, 3, 1_000)),
            ("too narrow", issue(1, Right::Playback.into(), 3, 0)),
            ("none at all", "nonsense".to_owned()),
        ] {
            assert_eq!(check("cam/door", Some(&token)), Err(Denied::Forbidden), "{why}");
        }
        assert_eq!(check("cam/none", Some(&issue(1, live, 3, 0))), Err(Denied::Forbidden));
    }
}
