//! A control plane that has its database for itself, over a restart.

use super::*;
use crate::store::gateways::kept::kept;

#[tokio::test]
async fn a_control_plane_that_starts_again_waits_for_the_gateways_of_its_last_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite://{}/cp.db", folder.path().display()))
        .await
        .unwrap();
    let hello = |id: &str| Hello {
        gateway_id: id.into(),
        boot_epoch: 1,
        ..Hello::default()
    };
    let (wait, shutdown) = (Duration::from_millis(50), CancellationToken::new());
    let first = Gateways::over(&store, wait);
    first.begin_sharing().await.unwrap();
    let sharing = tokio::spawn(first.clone().keep_sharing(shutdown.clone()));
    let stays = first.admit(&hello("stays"), 0).await.unwrap();
    let leaves = first.admit(&hello("leaves"), 0).await.unwrap();
    leaves.goodbye();
    eventually("who said goodbye is struck off", async || {
        kept(&store).await.unwrap().len() == 1
    })
    .await;
    shutdown.cancel();
    sharing.await.unwrap();
    drop((stays, leaves, first));

    let second = Gateways::over(&store, wait);
    second.begin_sharing().await.unwrap();
    let propagation = second.acknowledged(1).await;
    assert_eq!(propagation.to_string(), "partial; gateways=0; missing=stays");
    let _back = second.admit(&hello("stays"), 1).await.unwrap();
    assert_eq!(second.acknowledged(1).await.to_string(), "complete; gateways=1");
}
