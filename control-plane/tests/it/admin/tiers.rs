//! `GET /admin/tiers`

use keyward_control_plane::domain::admin::Role;
use serde_json::json;

use crate::admin::Door;
use crate::plane::Plane;

#[tokio::test]
async fn the_catalogue_is_shown_in_the_operators_order() {
    let plane = Plane::start().await;
    let tiers = plane.admin("GET", "/admin/tiers").send().await.expect(200).json();
    let keys: Vec<_> = tiers["tiers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tier| tier["tier"].clone())
        .collect();
    assert_eq!(keys, ["starter", "growth", "scale", "enterprise", "custom"]);
    let starter = json!({
        "tier": "starter", "name": "Starter", "annual_price": 100_000, "annual_limit": 2_000_000,
        "rate_limit": 50, "burst_limit": 100, "sla": "99.9%",
    });
    assert_eq!(tiers["tiers"][0], starter);
}

#[tokio::test]
async fn it_opens_only_to_whom_it_should() {
    door().opens_only_to_whom_it_should().await;
}

fn door() -> Door<'static> {
    Door {
        method: "GET",
        path: "/admin/tiers",
        least: Role::Viewer,
        allow: &["GET", "HEAD"],
    }
}
