//! What became of asking the router to let others in.

use serde_json::{Value, json};
use xp2p_driver::portmap::PortMapping;

/// For `--json`. `None`: nothing has come of it yet, or nobody was asked.
pub(crate) fn event(mapping: &PortMapping) -> Option<Value> {
    let (state, reached, reason) = match mapping {
        PortMapping::Mapped { external, protocol } => ("mapped", Some((external, protocol)), None),
        PortMapping::BehindNat { external, protocol } => ("behind-nat", Some((external, protocol)), None),
        PortMapping::Unneeded => ("unneeded", None, None),
        PortMapping::Unavailable { reason } => ("unavailable", None, Some(reason)),
        _ => return None,
    };
    let mut event = json!({"event": "port-mapping", "state": state});
    if let Some((external, protocol)) = reached {
        event["external"] = json!(external.to_string());
        event["protocol"] = json!(protocol.name());
    }
    if let Some(reason) = reason {
        event["reason"] = json!(reason);
    }
    Some(event)
}
