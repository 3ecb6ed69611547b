//! `GET /api/v1/psp/product-manager/customer-user-api-keys/usage`

use serde_json::{Value, json};

use super::{PATH, Person, create, one, person, set_limit, within};
use crate::plane::Plane;

async fn usage(plane: &Plane, person: &Person, path: &str) -> Value {
    let path = format!("{path}/usage");
    person.call(plane, "GET", path).send().await.expect(200).json()
}

#[tokio::test]
async fn usage_is_what_the_environment_has_and_may_have() {
    let plane = Plane::start().await;
    let company = plane.company("Acme").await;
    let (ada, bea) = (
        person(&plane, &company.id, &["Issuer_Dev"]).await,
        person(&plane, &company.id, &["Verifier_Dev"]).await,
    );
    let in_test = within(&plane, &company.id, "test").await;
    insta::assert_json_snapshot!(usage(&plane, &ada, PATH).await, @r#"
    {
      "used": 0,
      "limit": 20
    }
    "#);
    let made = create(&plane, &ada, "ada's").await;
    create(&plane, &bea, "bea's").await;
    set_limit(&plane, &company.id, "test", 3).await;
    let full = json!({"used": 2, "limit": 20});
    // Whoever asks, since it says how many more there may be.
    for caller in [&ada, &bea] {
        assert_eq!(usage(&plane, caller, PATH).await, full);
    }
    assert_eq!(
        usage(&plane, &ada, &in_test).await,
        json!({"used": 0, "limit": 3})
    );
    let off = json!({"status": "inactive"});
    ada.call(&plane, "PATCH", one(&made))
        .json(&off)
        .send()
        .await
        .expect(200);
    assert_eq!(usage(&plane, &ada, PATH).await, full);
    ada.call(&plane, "DELETE", one(&made)).send().await.expect(204);
    assert_eq!(usage(&plane, &ada, PATH).await, json!({"used": 1, "limit": 20}));
}

#[tokio::test]
async fn only_the_account_s_own_keys_of_this_surface_count() {
    let plane = Plane::start().await;
    let (acme, other) = (plane.company("Acme").await, plane.company("Other").await);
    let far = person(&plane, &other.id, &["Issuer_Dev"]).await;
    create(&plane, &far, "far").await;
    plane.account_key(&acme.id, &json!({})).await;
    for claims in [
        "Super_Dev",
        "Issuer_Admin",
        "Issuer_Dev",
        "Verifier_Admin",
        "Verifier_Dev",
    ] {
        let caller = person(&plane, &acme.id, &[claims]).await;
        assert_eq!(
            usage(&plane, &caller, PATH).await,
            json!({"used": 0, "limit": 20}),
            "{claims}"
        );
    }
}
