//! `GET /keys`

use std::collections::HashSet;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::{Person, get, make, person, plane, set};
use crate::plane::{Company, Plane};

fn ids(page: &Value) -> Vec<String> {
    let keys = page["data"].as_array().unwrap().iter();
    let ids: Vec<_> = keys.map(|key| key["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(page["count"], ids.len());
    ids
}

/// A company with so many keys, all of them newest first.
async fn company_with(plane: &Plane, keys: usize) -> (Company, Person, Vec<String>) {
    let company = plane.company("Acme").await;
    let ada = person(plane, &company).await;
    for _ in 1..keys {
        make(plane, &company.live, &ada, json!({})).await;
    }
    let all = ids(&get(plane, &company.live, "/keys?limit=100").await);
    assert_eq!(all.len(), keys);
    (company, ada, all)
}

#[tokio::test]
async fn keys_of_every_surface_are_listed_newest_first() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let here = make(
        &plane,
        &company.live,
        &ada,
        json!({"whitelistedIPs": ["192.0.2.0/24"]}),
    )
    .await;
    let users_own = make(&plane, &company.live, &ada, json!({"description": "laptop"})).await;
    set(&plane, users_own["id"].as_str().unwrap(), "origin", "user-keys").await;
    // None of these are account keys of this environment and company.
    plane.customer(&company.live, "Uni").await;
    make(&plane, &company.test, &ada, json!({})).await;
    plane.company("Other").await;
    let page = get(&plane, &company.live, "/keys").await;
    insta::assert_json_snapshot!(page, {
        ".data[].id" => "[id]", ".data[].companyId" => "[account]", ".data[1].key" => "[key]",
        ".data[:2].userId" => "[user]", ".data[].apiVersionUpdatedAt" => "[time]",
        ".data[].createdAt" => "[time]", ".data[].updatedAt" => "[time]",
    }, @r#"
    {
      "status": 200,
      "total": 3,
      "count": 3,
      "nextUrl": null,
      "previousUrl": null,
      "data": [
        {
          "id": "[id]",
          "companyId": "[account]",
          "userId": "[user]",
          "key": null,
          "whitelistedIPs": null,
          "apiVersion": "2027-02-01",
          "apiVersionUpdatedAt": "[time]",
          "apiVersionDowngradeNotAllowedAfter": null,
          "status": "active",
          "description": "laptop",
          "createdAt": "[time]",
          "updatedAt": "[time]",
          "deletedAt": null
        },
        {
          "id": "[id]",
          "companyId": "[account]",
          "userId": "[user]",
          "key": "[key]",
          "whitelistedIPs": [
            "192.0.2.0/24"
          ],
          "apiVersion": "2027-02-01",
          "apiVersionUpdatedAt": "[time]",
          "apiVersionDowngradeNotAllowedAfter": null,
          "status": "active",
          "description": null,
          "createdAt": "[time]",
          "updatedAt": "[time]",
          "deletedAt": null
        },
        {
          "id": "[id]",
          "companyId": "[account]",
          "userId": null,
          "key": null,
          "whitelistedIPs": null,
          "apiVersion": "2027-02-01",
          "apiVersionUpdatedAt": "[time]",
          "apiVersionDowngradeNotAllowedAfter": null,
          "status": "active",
          "description": null,
          "createdAt": "[time]",
          "updatedAt": "[time]",
          "deletedAt": null
        }
      ]
    }
    "#);
    assert_eq!(page["data"][1], here);
    assert_eq!(get(&plane, &company.test, "/keys").await["total"], 2);
    let inactive = get(&plane, &company.live, "/keys?status=inactive").await;
    insta::assert_json_snapshot!(inactive, @r#"
    {
      "status": 200,
      "total": 0,
      "count": 0,
      "nextUrl": null,
      "previousUrl": null,
      "data": []
    }
    "#);
}

#[tokio::test]
async fn disabled_revoked_deleted_and_expired_keys_are_inactive() {
    let plane = plane().await;
    let company = plane.company("Acme").await;
    let ada = person(&plane, &company).await;
    let now = plane.running.registry().clock.now().0;
    let soon = keyward_contract::UnixMillis(now + 60_000).to_rfc3339_seconds();
    let expiring = plane.account_key(&company.id, &json!({"expires_at": soon})).await;
    let mut wanted = vec![expiring["api_key_id"].as_str().unwrap().to_owned()];
    for state in ["disabled", "revoked", "deleted"] {
        let key = make(&plane, &company.live, &ada, json!({})).await;
        let id = key["id"].as_str().unwrap();
        set(&plane, id, "state", state).await;
        wanted.insert(0, id.to_owned());
    }
    let list = |status: &str| get(&plane, &company.live, format!("/keys?status={status}"));
    let inactive = list("inactive").await;
    assert_eq!(ids(&inactive), wanted[..3]);
    assert_eq!(inactive["total"], 3);
    assert_eq!(list("active").await["total"], 2);
    // By the clock alone.
    plane.advance(Duration::from_secs(61));
    let inactive = list("inactive").await;
    assert_eq!(ids(&inactive), wanted);
    assert_eq!(inactive["total"], 4);
    assert_eq!(list("active").await["total"], 1);
    for key in inactive["data"].as_array().unwrap() {
        assert_eq!((&key["status"], &key["key"]), (&json!("inactive"), &Value::Null));
    }
}

#[tokio::test]
async fn pages_lead_to_their_neighbours_with_every_filter_kept() {
    let plane = plane().await;
    let (company, _, all) = company_with(&plane, 7).await;
    let first = get(&plane, &company.live, "/keys?limit=3&unknown=1").await;
    assert_eq!(ids(&first), all[..3]);
    assert_eq!(
        (&first["total"], &first["previousUrl"]),
        (&json!(7), &Value::Null)
    );
    let next = first["nextUrl"].as_str().unwrap();
    assert_eq!(
        next,
        format!("/keys?status=active&limit=3&startingAfter={}", all[2])
    );
    let second = get(&plane, &company.live, next).await;
    assert_eq!(ids(&second), all[3..6]);
    let third = get(&plane, &company.live, second["nextUrl"].as_str().unwrap()).await;
    assert_eq!(ids(&third), all[6..]);
    assert_eq!((&third["total"], &third["nextUrl"]), (&json!(7), &Value::Null));
    let previous = third["previousUrl"].as_str().unwrap();
    assert_eq!(
        previous,
        format!("/keys?status=active&limit=3&endingBefore={}", all[6])
    );
    let back = get(&plane, &company.live, previous).await;
    assert_eq!(back, second);
    let back = get(&plane, &company.live, back["previousUrl"].as_str().unwrap()).await;
    assert_eq!(back, first);

    let inactive = get(&plane, &company.live, "/keys?status=inactive&limit=1").await;
    assert_eq!(inactive["nextUrl"], Value::Null);
    for id in &all[..2] {
        set(&plane, id, "state", "disabled").await;
    }
    let inactive = get(&plane, &company.live, "/keys?status=inactive&limit=1").await;
    assert_eq!(
        inactive["nextUrl"],
        format!("/keys?status=inactive&limit=1&startingAfter={}", all[0])
    );
}

#[tokio::test]
async fn a_page_lies_beside_its_cursor() {
    let plane = plane().await;
    let (company, _, all) = company_with(&plane, 6).await;
    let last = all[5].as_str();
    for (query, page, previous, next) in [
        (format!("startingAfter={}", all[0]), &all[1..3], true, true),
        (format!("startingAfter={}", all[3]), &all[4..], true, false),
        // The nearest to the cursor, not the newest of all.
        (format!("endingBefore={last}"), &all[3..5], true, true),
        (format!("endingBefore={}", all[2]), &all[..2], false, true),
        (format!("endingBefore={}", all[1]), &all[..1], false, true),
        // `endingBefore` wins.
        (
            format!("startingAfter={}&endingBefore={}", all[4], all[2]),
            &all[..2],
            false,
            true,
        ),
        ("offset=0".into(), &all[..2], false, true),
        ("offset=3".into(), &all[3..5], true, true),
        ("offset=5".into(), &all[5..], true, false),
        // Beyond the ends.
        (format!("startingAfter={last}"), &[], true, false),
        (format!("endingBefore={}", all[0]), &[], false, true),
        ("offset=6".into(), &[], true, false),
        ("offset=9223372036854775807".into(), &[], true, false),
    ] {
        let shown = get(&plane, &company.live, format!("/keys?limit=2&{query}")).await;
        assert_eq!(ids(&shown), page, "{query}");
        assert_eq!(shown["total"], 6, "{query}");
        assert_eq!(shown["previousUrl"].is_string(), previous, "{query}: {shown}");
        assert_eq!(shown["nextUrl"].is_string(), next, "{query}: {shown}");
        if page.is_empty() {
            let (neighbour, wanted) = match shown["previousUrl"].as_str() {
                Some(previous) => (previous, &all[4..]),
                None => (shown["nextUrl"].as_str().unwrap(), &all[..2]),
            };
            let neighbour = get(&plane, &company.live, neighbour).await;
            assert_eq!(ids(&neighbour), wanted, "{query}");
        }
    }
    // A cursor may have ended meanwhile, or stand among those that weren't asked for.
    set(&plane, &all[1], "state", "deleted").await;
    let shown = get(
        &plane,
        &company.live,
        format!("/keys?limit=2&startingAfter={}", all[1]),
    )
    .await;
    assert_eq!(ids(&shown), all[2..4]);
    let shown = get(
        &plane,
        &company.live,
        format!("/keys?status=inactive&endingBefore={last}"),
    )
    .await;
    assert_eq!(ids(&shown), all[1..2]);
}

#[tokio::test]
async fn a_parameter_out_of_range_is_refused_and_never_clamped() {
    let plane = plane().await;
    let (company, _, all) = company_with(&plane, 3).await;
    let other = plane.company("Other").await;
    let id_of = async |key: &str| ids(&get(&plane, key, "/keys").await).remove(0);
    let foreign = [id_of(&other.live).await, id_of(&company.test).await];
    let customer = plane.customer(&company.live, "Uni").await;
    let unknown = uuid::Uuid::now_v7();
    let mut rows: Vec<(String, &str)> = [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=1.5", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("limit=5&limit=5", "limit"),
        ("offset=-1", "offset"),
        ("offset=x", "offset"),
        ("offset=9223372036854775808", "offset"),
        ("status=all", "status"),
        ("status=", "status"),
        ("status=Active", "status"),
        ("status=active&status=inactive", "status"),
        ("startingAfter=", "startingAfter"),
        ("startingAfter=x", "startingAfter"),
        ("endingBefore=1", "endingBefore"),
    ]
    .map(|(query, part)| (query.to_owned(), part))
    .to_vec();
    for id in foreign {
        rows.push((format!("startingAfter={id}"), "startingAfter"));
        rows.push((format!("endingBefore={id}"), "endingBefore"));
    }
    rows.push((
        format!("startingAfter={}", customer["id"].as_str().unwrap()),
        "startingAfter",
    ));
    rows.push((format!("startingAfter={unknown}"), "startingAfter"));
    rows.push((
        format!("startingAfter={unknown}&endingBefore={}", all[1]),
        "startingAfter",
    ));
    rows.push((format!("offset=0&startingAfter={}", all[1]), "offset"));
    rows.push((format!("offset=1&endingBefore={}", all[1]), "offset"));
    for (query, part) in rows {
        let call = plane.call("GET", format!("/keys?{query}")).key(&company.live);
        let part = format!("`{part}`");
        call.send().await.expect_message(400, &part);
    }
    for query in ["limit=1", "limit=100", "status=active", "offset=0"] {
        get(&plane, &company.live, format!("/keys?{query}")).await;
    }
}

/// What happens between two pages.
#[derive(Clone, Copy, Debug)]
enum Write {
    Make,
    /// Deletes one of the keys that there are, perhaps the very one that a cursor names.
    End(usize),
}

/// What a walk met.
struct Walk<'a> {
    plane: &'a Plane,
    company: &'a Company,
    ada: &'a Person,
    /// Keys that are there and not the caller's own.
    standing: Vec<String>,
}

impl Walk<'_> {
    /// Goes from page to page until there is none, and says which keys it met; `meanwhile` happens between them.
    async fn along(&mut self, first: String, link: &str, meanwhile: &[Vec<Write>]) -> Vec<String> {
        let mut met = Vec::new();
        let mut url = Some(first);
        let mut meanwhile = meanwhile.iter();
        while let Some(at) = url {
            let page = get(self.plane, &self.company.live, at).await;
            let mut keys = ids(&page);
            if link == "previousUrl" {
                keys.reverse();
            }
            met.extend(keys);
            for write in meanwhile.next().into_iter().flatten() {
                self.write(*write).await;
            }
            url = page[link].as_str().map(str::to_owned);
        }
        met
    }

    async fn write(&mut self, write: Write) {
        match write {
            Write::Make => {
                let made = make(self.plane, &self.company.live, self.ada, json!({})).await;
                self.standing.push(made["id"].as_str().unwrap().to_owned());
            }
            Write::End(_) if self.standing.is_empty() => {}
            Write::End(which) => {
                let id = self.standing.remove(which % self.standing.len());
                let call = self.plane.call("DELETE", format!("/keys/{id}"));
                call.key(&self.company.live).send().await.expect(204);
            }
        }
    }
}

fn no_key_twice_and_all_that_stood(met: &[String], before: &[String], after: &[String]) {
    let once: HashSet<_> = met.iter().collect();
    assert_eq!(once.len(), met.len(), "a key was met twice");
    for key in before.iter().filter(|key| after.contains(key)) {
        assert!(once.contains(key), "{key} stood throughout and was skipped");
    }
}

#[test]
fn a_walk_in_either_direction_repeats_no_key_and_skips_none_that_stood_throughout() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let plane = runtime.block_on(plane());
    let write = prop_oneof![Just(Write::Make), any::<usize>().prop_map(Write::End)];
    let writes = prop::collection::vec(prop::collection::vec(write, 0..3), 0..6);
    let cases = (2usize..10, 1i64..4, writes.clone(), writes);
    let mut runner = TestRunner::new(Config {
        cases: 24,
        max_shrink_iters: 40,
        failure_persistence: None,
        ..Config::default()
    });
    let law = |(keys, limit, forth, back): (usize, i64, Vec<Vec<Write>>, Vec<Vec<Write>>)| {
        runtime.block_on(async {
            let (company, ada, all) = company_with(&plane, keys).await;
            let standing = all[..keys - 1].to_vec();
            let mut walk = Walk {
                plane: &plane,
                company: &company,
                ada: &ada,
                standing,
            };
            let before = walk.standing.clone();
            let met = walk
                .along(format!("/keys?limit={limit}"), "nextUrl", &forth)
                .await;
            no_key_twice_and_all_that_stood(&met, &before, &walk.standing);

            let total = i64::try_from(walk.standing.len()).unwrap() + 1;
            let last = format!("/keys?limit={limit}&offset={}", (total - limit).max(0));
            let before = walk.standing.clone();
            let met = walk.along(last, "previousUrl", &back).await;
            no_key_twice_and_all_that_stood(&met, &before, &walk.standing);
        });
        Ok(())
    };
    runner.run(&cases, law).unwrap();
}
