/* Requests over JSON-RPC, and the connections that they came on. */
#ifndef SPDK_SHIM_RPC_H
#define SPDK_SHIM_RPC_H

#include <spdk/stdinc.h>
#include <spdk/jsonrpc.h>

/*
 * Before 23.09 a request points to its connection for as long as it lives, also when the server has freed that; and a
 * connection that was closed keeps its place, one of 64, when it is answered later. There `closed(conn, NULL)` is
 * called when the connection closes, and the request is to be discarded in it; it is one function for all requests.
 * Newer versions see to the request themselves: `*conn` is NULL. Negative when the request can't be watched.
 */
int spdk_shim_rpc_watch(struct spdk_jsonrpc_request *request, spdk_jsonrpc_conn_closed_fn closed,
			struct spdk_jsonrpc_server_conn **conn);
void spdk_shim_rpc_discard(struct spdk_jsonrpc_request *request);

#endif
