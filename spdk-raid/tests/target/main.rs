//! The program `spdk-raid-tgt`, from outside: started, driven over JSON-RPC, ended by signals.

mod command_line;
mod nvmf;
mod process;
mod rpc;
mod wait;
