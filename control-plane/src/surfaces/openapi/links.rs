//! Which answers hold the ids that other operations take: from what was made one gets to how it is read, changed
//! and removed.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::complete::{each_operation, object};

/// Where the answer of an operation holds an id.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The operation.
    pub operation: &'static str,
    /// The status of the answer.
    pub status: &'static str,
    /// The parameter of others that takes it.
    pub parameter: &'static str,
    /// Where it is, as a JSON pointer into the body.
    pub at: &'static str,
}

/// The same in one line.
#[must_use]
pub fn source(
    operation: &'static str,
    status: &'static str,
    parameter: &'static str,
    at: &'static str,
) -> Source {
    Source {
        operation,
        status,
        parameter,
        at,
    }
}

/// Adds a link for every operation that can be called with what an answer holds.
pub fn add(root: &mut Map<String, Value>, sources: &[Source]) {
    let mut takes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    each_operation(root, |operation| {
        takes.insert(id(operation.said), placeholders(operation.path));
    });
    each_operation(root, |mut operation| {
        let from = id(operation.said);
        let mine = || sources.iter().filter(|source| source.operation == from);
        let given = placeholders(operation.path);
        let Some(status) = mine().next().map(|source| source.status) else {
            return;
        };
        let mut links = Map::new();
        for (target, wanted) in &takes {
            if let Some(parameters) = filled(wanted, &given, mine()) {
                let link = json!({"operationId": target, "parameters": parameters});
                links.insert(target.clone(), link);
            }
        }
        if let Some(Value::Object(answer)) = operation.answers().get_mut(status) {
            object(answer, "links").extend(links);
        }
    });
}

/// Every parameter that is wanted, out of the answer or else out of the call; `None` when one is missing, or
/// nothing is of the answer.
fn filled<'a>(
    wanted: &[String],
    given: &[String],
    sources: impl Iterator<Item = &'a Source> + Clone,
) -> Option<Map<String, Value>> {
    let mut parameters = Map::new();
    let mut of_the_answer = false;
    for name in wanted {
        let found = sources.clone().find(|source| source.parameter == name);
        let expression = match found {
            Some(source) => {
                of_the_answer = true;
                format!("$response.body#{}", source.at)
            }
            None if given.contains(name) => format!("$request.path.{name}"),
            None => return None,
        };
        parameters.insert(name.clone(), expression.into());
    }
    of_the_answer.then_some(parameters)
}

fn id(operation: &Map<String, Value>) -> String {
    let id = operation.get("operationId").and_then(Value::as_str);
    id.unwrap_or_default().to_owned()
}

fn placeholders(path: &str) -> Vec<String> {
    let segments = path.split('/');
    segments
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(str::to_owned)
        .collect()
}
