/* Claims of bdevs. */
#ifndef SPDK_SHIM_CLAIM_H
#define SPDK_SHIM_CLAIM_H

#include <spdk/stdinc.h>
#include <spdk/bdev.h>
#include <spdk/bdev_module.h>

#include "needs.h"

/* The values of SPDK's enum spdk_bdev_claim_type, which old versions lack. */
enum spdk_shim_claim_type {
	SPDK_SHIM_CLAIM_NONE = 0,
	SPDK_SHIM_CLAIM_EXCL_WRITE = 1,
	SPDK_SHIM_CLAIM_READ_MANY_WRITE_ONE = 2,
	SPDK_SHIM_CLAIM_READ_MANY_WRITE_NONE = 3,
	SPDK_SHIM_CLAIM_READ_MANY_WRITE_SHARED = 4,
};

struct spdk_shim_claim {
	enum spdk_shim_claim_type type;
	const char *module;	/* of the first one who holds it; lives for ever; NULL if there is none */
};
/* Who has claimed a bdev, and how. On an SPDK thread, with the bdev held. */
void spdk_shim_bdev_claim(struct spdk_bdev *bdev, struct spdk_shim_claim *out);

/* spdk_bdev_module_claim_bdev_desc(), for the three types that end with their descriptor. */
int spdk_shim_claim_desc(struct spdk_bdev_desc *desc, enum spdk_shim_claim_type type, uint64_t shared_key,
			 struct spdk_bdev_module *module, struct spdk_shim_needs *needs);

#endif
