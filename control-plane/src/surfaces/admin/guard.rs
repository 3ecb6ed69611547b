//! Who calls the admin API: `x-api-key: <admin key>`.

use http::{HeaderMap, HeaderName};

use crate::App;
use crate::domain::refusal::InvalidField;
use crate::operations::identify::{self, Call};
use crate::surfaces::call::Admission;
use crate::surfaces::limits::Meter;
use crate::surfaces::problem::Problem;

const KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Finds the operator. Whatever is no living admin key is forbidden, account and customer keys too.
pub async fn identify(app: &App, headers: &HeaderMap, call: &Call) -> (Admission, Option<Meter>) {
    let refused = |problem| (Admission::Refused(problem), None);
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else {
        return refused(Problem::NoCredential);
    };
    if values.next().is_some() {
        return refused(InvalidField::new("x-api-key", "occurs twice").into());
    }
    match identify::admin_key(&app.registry, value.as_bytes().trim_ascii(), call).await {
        Ok(Some(caller)) => {
            // No call waits for this: reads go on while the database has another writer.
            let (app, key) = (app.clone(), caller.key.clone());
            tokio::spawn(async move { identify::note_use(&app.registry, &key).await });
            (Admission::Admin(Box::new(caller)), None)
        }
        Ok(None) => refused(Problem::Forbidden("the API key is no admin key")),
        Err(error) => refused(error.into()),
    }
}
