#include "claim.h"
#include "version.h"

#include <spdk/bdev.h>
#include <spdk/bdev_module.h>
#include <spdk/thread.h>

#if SINCE(23, 5)
SIZE_IS(struct spdk_bdev_claim_opts, 48);
_Static_assert((int)SPDK_BDEV_CLAIM_EXCL_WRITE == SPDK_SHIM_CLAIM_EXCL_WRITE, "claim types moved");
_Static_assert((int)SPDK_BDEV_CLAIM_READ_MANY_WRITE_ONE == SPDK_SHIM_CLAIM_READ_MANY_WRITE_ONE,
	       "claim types moved");
_Static_assert((int)SPDK_BDEV_CLAIM_READ_MANY_WRITE_NONE == SPDK_SHIM_CLAIM_READ_MANY_WRITE_NONE,
	       "claim types moved");
_Static_assert((int)SPDK_BDEV_CLAIM_READ_MANY_WRITE_SHARED == SPDK_SHIM_CLAIM_READ_MANY_WRITE_SHARED,
	       "claim types moved");
#endif

void
spdk_shim_bdev_claim(struct spdk_bdev *bdev, struct spdk_shim_claim *out)
{
	const struct spdk_bdev_module *module = NULL;

	out->type = SPDK_SHIM_CLAIM_NONE;
#if SINCE(23, 1)
	/* Claims may be made and given back on other threads, and then their list changes. */
	spdk_spin_lock(&bdev->internal.spinlock);
	if (bdev->internal.claim_type == SPDK_BDEV_CLAIM_EXCL_WRITE) {
		module = bdev->internal.claim.v1.module;
	}
#if SINCE(23, 5)
	else if (bdev->internal.claim_type != SPDK_BDEV_CLAIM_NONE) {
		struct spdk_bdev_module_claim *claim;

		/* A claim without a module was given back while the bdev is examined. */
		TAILQ_FOREACH(claim, &bdev->internal.claim.v2.claims, link) {
			if (claim->module != NULL) {
				module = claim->module;
				break;
			}
		}
	}
#endif
	out->type = (enum spdk_shim_claim_type)bdev->internal.claim_type;
	spdk_spin_unlock(&bdev->internal.spinlock);
#else
	module = bdev->internal.claim_module;
	if (module != NULL) {
		out->type = SPDK_SHIM_CLAIM_EXCL_WRITE;
	}
#endif
	out->module = module != NULL ? module->name : NULL;
}

int
spdk_shim_claim_desc(struct spdk_bdev_desc *desc, enum spdk_shim_claim_type type, uint64_t shared_key,
		     struct spdk_bdev_module *module, struct spdk_shim_needs *needs)
{
#if SINCE(23, 5)
	struct spdk_bdev_claim_opts opts;

	spdk_bdev_claim_opts_init(&opts, sizeof(opts));
	opts.shared_claim_key = shared_key;
	return spdk_bdev_module_claim_bdev_desc(desc, (enum spdk_bdev_claim_type)type, &opts, module);
#else
	return SPDK_SHIM_NEEDS(needs, "a claim other than the exclusive one", "23.05");
#endif
}
