/* Which version can do what this one can't. */
#ifndef SPDK_SHIM_NEEDS_H
#define SPDK_SHIM_NEEDS_H

/* Filled in beside -ENOTSUP: what was asked for, and the first version that can; else left alone. Static strings. */
struct spdk_shim_needs {
	const char *what;
	const char *version;
};

#define SPDK_SHIM_NEEDS(needs, asked, since) \
	((needs)->what = (asked), (needs)->version = (since), -ENOTSUP)

#endif
