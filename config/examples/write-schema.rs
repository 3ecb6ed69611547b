//! Writes the JSON Schemas beside the configuration files: `cargo run -p keyward-config --example write-schema`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    std::fs::create_dir_all(&folder)?;
    for (name, text) in keyward_config::schema::all() {
        std::fs::write(folder.join(format!("{name}.json")), text)?;
    }
    Ok(())
}
