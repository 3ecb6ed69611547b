//! What a gateway's Hello comes to: which protocol is spoken, and from where it goes on. From what it holds, when that is
//! of this log and was sent under the same scope; else from a snapshot.

use keyward_contract::feed::Hello;
use keyward_contract::protocol::{OURS, Protocols};
use tonic::Status;

use super::feed::{Epoch, Feed};
use crate::store::changes::{History, named};

/// The protocol that is spoken with this gateway.
///
/// # Errors
/// When there is none that both speak: then one of the two is to be upgraded.
pub(super) fn spoken(hello: &Hello) -> Result<u32, Status> {
    between(OURS, Protocols::said(hello.oldest_protocol, hello.protocol))
}

fn between(ours: Protocols, theirs: Protocols) -> Result<u32, Status> {
    ours.common(theirs).ok_or_else(|| {
        let behind = match theirs.is_older_than(ours) {
            true => "gateway",
            false => "control plane",
        };
        metrics::counter!("keyward_sync_refused_streams_total", "reason" => "protocol").increment(1);
        Status::failed_precondition(format!(
            "the gateway speaks sync protocol {theirs}, this control plane {ours}: upgrade the {behind}"
        ))
    })
}

/// Where a stream begins.
#[derive(Clone, Debug)]
pub(super) struct Start {
    /// What the gateway holds of the log; 0 when it needs a snapshot.
    pub(super) position: u64,
    /// Under which epoch that is so.
    pub(super) epoch: Epoch,
}

/// Where the stream of this gateway begins, which is sent what is in the scope of this name.
///
/// # Errors
/// When the log can't be read.
pub(super) async fn start(feed: &Feed, hello: &Hello, scope: &str) -> Result<Start, Status> {
    let unreadable = |_| Status::unavailable("the change log can't be read");
    let epoch = feed.epoch();
    if hello.revision == 0 || hello.feed_epoch != epoch.name() {
        return Ok(Start { position: 0, epoch });
    }
    let (head, history) = feed.log_at(hello.revision).await.map_err(unreadable)?;
    if let Verdict::Contradicts(why) = Claim::of(hello).against(head, history) {
        tracing::error!(
            gateway = hello.gateway_id,
            revision = hello.revision,
            head,
            why,
            "a gateway holds what is not in the change log"
        );
        feed.contradicted(&epoch, why).await.map_err(unreadable)?;
        // The present one, which is another by now or was begun a moment ago.
        return Ok(Start {
            position: 0,
            epoch: feed.epoch(),
        });
    }
    let position = resumes_at(hello, (epoch.name(), scope), (head, history));
    Ok(Start { position, epoch })
}

/// What a gateway that says this holds of a log with this epoch and head, and with this history at what it claims; 0 when
/// it needs a snapshot.
#[must_use]
pub fn resumes_at(
    hello: &Hello,
    (epoch, scope): (&str, &str),
    (head, history): (u64, Option<History>),
) -> u64 {
    let is_ours = hello.feed_epoch == epoch && hello.scope == scope;
    match Claim::of(hello).against(head, history) {
        Verdict::Holds if is_ours => hello.revision,
        Verdict::Holds | Verdict::Unknown | Verdict::Contradicts(_) => 0,
    }
}

/// What a gateway says that it holds, under our epoch.
#[derive(Clone, Copy, Debug)]
struct Claim {
    revision: u64,
    history: Option<History>,
}

/// What the log says of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is of this log, or says nothing against that.
    Holds,
    /// What would tell is gone from the log.
    Unknown,
    /// It can't have come out of this log.
    Contradicts(&'static str),
}

impl Claim {
    fn of(hello: &Hello) -> Self {
        Self {
            revision: hello.revision,
            history: named(Some(&hello.history)),
        }
    }

    /// Against a log with this head, and with this history at the claimed revision.
    fn against(self, head: u64, history: Option<History>) -> Verdict {
        match (self.history, history) {
            _ if self.revision > head => {
                Verdict::Contradicts("it holds a revision that the log has not reached")
            }
            // Gateways of earlier versions hold none.
            (None, _) => Verdict::Holds,
            (Some(_), None) => Verdict::Unknown,
            (Some(theirs), Some(ours)) if theirs == ours => Verdict::Holds,
            (Some(_), Some(_)) => Verdict::Contradicts("the log has another history at its revision"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_without_a_common_protocol_are_told_which_is_to_be_upgraded() {
        let (old, new) = (Protocols::said(1, 2), Protocols::said(3, 5));
        assert_eq!(between(Protocols::said(2, 4), new).unwrap(), 4);
        assert_eq!(between(Protocols::said(2, 4), old).unwrap(), 2);
        let refusal = |ours, theirs| {
            let status = between(ours, theirs).unwrap_err();
            assert_eq!(status.code(), tonic::Code::FailedPrecondition);
            status.message().to_owned()
        };
        assert_eq!(
            refusal(new, old),
            "the gateway speaks sync protocol 1 to 2, this control plane 3 to 5: upgrade the gateway"
        );
        assert_eq!(
            refusal(old, Protocols::said(0, 3)),
            "the gateway speaks sync protocol 3, this control plane 1 to 2: upgrade the control plane"
        );
    }

    #[test]
    fn a_gateway_goes_on_only_from_what_the_log_does_not_deny() {
        let (ours, theirs) = ([1; 32], [2; 32]);
        let against = |revision, history, at| Claim { revision, history }.against(10, at);
        assert_eq!(against(7, Some(ours), Some(ours)), Verdict::Holds);
        assert_eq!(against(7, None, Some(ours)), Verdict::Holds);
        assert_eq!(against(7, None, None), Verdict::Holds);
        assert_eq!(against(7, Some(ours), None), Verdict::Unknown);
        for (revision, history, at) in [
            (7, Some(theirs), Some(ours)),
            (11, Some(ours), None),
            (11, None, None),
        ] {
            assert!(
                matches!(against(revision, history, at), Verdict::Contradicts(_)),
                "{revision}"
            );
        }
    }
}
