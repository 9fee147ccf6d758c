#include "rpc.h"
#include "version.h"

#include <spdk/json.h>

#if !SINCE(23, 9)

/* In lib/jsonrpc/jsonrpc_internal.h. A shared library does not export it; what is discarded leaks there. */
void jsonrpc_free_request(struct spdk_jsonrpc_request *request) __attribute__((weak));

int
spdk_shim_rpc_watch(struct spdk_jsonrpc_request *request, spdk_jsonrpc_conn_closed_fn closed,
		    struct spdk_jsonrpc_server_conn **conn)
{
	int rc;

	*conn = spdk_jsonrpc_get_conn(request);
	/* One for each connection, which keeps it when it is used again. */
	rc = spdk_jsonrpc_conn_add_close_cb(*conn, closed, NULL);
	return rc == -EEXIST ? 0 : rc;
}

void
spdk_shim_rpc_discard(struct spdk_jsonrpc_request *request)
{
	if (jsonrpc_free_request != NULL) {
		spdk_json_write_end(spdk_jsonrpc_begin_result(request));
		jsonrpc_free_request(request);
	}
}

#else

int
spdk_shim_rpc_watch(struct spdk_jsonrpc_request *request, spdk_jsonrpc_conn_closed_fn closed,
		    struct spdk_jsonrpc_server_conn **conn)
{
	*conn = NULL;
	return 0;
}

void
spdk_shim_rpc_discard(struct spdk_jsonrpc_request *request)
{
}

#endif
