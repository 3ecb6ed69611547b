//! Configuration files with the environment over them: a configuration, or what is wrong with it, each on a line of
//! its own that says where it stands.

use keyward_config::{Kind, Place, Surroundings};

/// A file; what follows a line `---` are variables, `NAME=value` each.
pub(crate) fn check(kind: Kind, bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (file, variables) = text.split_once("\n---\n").unwrap_or((text, ""));
    let variables = variables.lines().filter_map(|line| line.split_once('='));
    let surroundings = Surroundings {
        environment: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ..Surroundings::default()
    };
    let outcome = kind.check(file, "file.toml", &surroundings);
    assert_eq!(
        outcome,
        kind.check(file, "file.toml", &surroundings),
        "it depends on chance"
    );
    let Err(error) = outcome else { return };
    assert!(!error.problems().is_empty(), "refused, and nobody is told why");
    let lines = file.split('\n').count();
    for problem in error.problems() {
        assert!(!problem.message.trim().is_empty());
        match &problem.place {
            Place::File { line: Some(line), .. } => assert!((1..=lines).contains(line), "{problem}"),
            Place::File { line: None, origin } => assert_eq!(origin, "file.toml"),
            Place::Variable(name) => {
                assert!(
                    surroundings.environment.iter().any(|(other, _)| other == name),
                    "{problem}"
                );
            }
            Place::Argument(_) => {}
        }
    }
    let told = error.to_string();
    assert_eq!(
        told.split('\n').count(),
        error.problems().len(),
        "more lines than problems: {told:?}"
    );
    assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
}
