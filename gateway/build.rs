//! Compiles the messages of Envoy's external authorization with a protobuf compiler in pure Rust, so that building
//! needs no `protoc`. A check's headers hold keys: none of these messages can be printed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = [
        "proto/envoy/service/auth/v3/external_auth.proto",
        "proto/grpc/health/v1/health.proto",
    ];
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(protos, ["proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .skip_debug(["."])
        .include_file("authz.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
