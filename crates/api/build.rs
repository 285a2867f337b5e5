//! Compiles proto/ with protox (no protoc needed) and generates messages, services and clients.

use std::path::PathBuf;

fn main() {
    let root = PathBuf::from("../../proto");
    let files = ["hostler/v1/host.proto", "hostler/v1/files.proto"];
    for file in files {
        println!("cargo:rerun-if-changed=../../proto/{file}");
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let set = out.join("hostler.fds");
    let mut compiler = protox::Compiler::new([&root]).expect("proto/ exists");
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(files).expect("the .proto files are valid");
    std::fs::write(&set, compiler.encode_file_descriptor_set()).expect("OUT_DIR is writable");
    connectrpc_build::Config::new()
        .descriptor_set(&set)
        .files(&files)
        .include_file("_connectrpc.rs")
        .generate_json(false)
        .compile()
        .expect("code generation");
}
