//! temp
use std::io::Write;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let keys = keyward_benches::replica::prepare(std::path::Path::new(&a[1]), a[2].parse().unwrap()).unwrap();
    let mut f = std::fs::File::create(&a[3]).unwrap();
    for k in keys {
        writeln!(f, "{}", k.expose()).unwrap();
    }
}
