//! Compiles proto/ with protox (no protoc needed) and generates messages, services and clients.

use std::path::PathBuf;

fn main() {
    let root = PathBuf::from("../../proto");
    let files = ["hostler/v1/host.proto", "hostler/v1/files.proto", "hostler/v1/journal.proto"];
    for file in files {
        println!("cargo:rerun-if-changed=../../proto/{file}");
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let set = out.join("hostler.fds");
    let mut compiler = protox::Compiler::new([&root]).expect("proto/ exists");
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(files).expect("the .proto files are valid");
    std::fs::write(&set, compiler.encode_file_descriptor_set()).expect("OUT_DIR is writable");
    std::fs::write(out.join("methods.rs"), methods(&compiler)).expect("OUT_DIR is writable");
    connectrpc_build::Config::new()
        .descriptor_set(&set)
        .files(&files)
        .include_file("_connectrpc.rs")
        .generate_json(false)
        .compile()
        .expect("code generation");
}

/// A slice of the path of every RPC, sorted.
fn methods(compiler: &protox::Compiler) -> String {
    let mut paths = Vec::new();
    for service in compiler.descriptor_pool().services() {
        paths.extend(service.methods().map(|method| format!("/{}/{}", service.full_name(), method.name())));
    }
    paths.sort();
    format!("&{paths:?}")
}
