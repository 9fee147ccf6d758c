/*
 * The C half of spdk-sys: what bindgen can't reach (inlines, bitfields, unions, packed structs) and what
 * differs between SPDK 20.07 and 26.05. Above it there is one API for all of them. One pair of files for each
 * concept.
 *
 * Names: spdk_shim_*. Return codes are SPDK's: 0 or a negated errno. A feature that the linked SPDK
 * does not have answers -ENOTSUP.
 */
#ifndef SPDK_SHIM_H
#define SPDK_SHIM_H

#include "aio.h"
#include "app.h"
#include "claim.h"
#include "client.h"
#include "delay.h"
#include "error.h"
#include "info.h"
#include "io.h"
#include "lock.h"
#include "log.h"
#include "malloc.h"
#include "module.h"
#include "module_type.h"
#include "null.h"
#include "own_loop.h"
#include "passthru.h"
#include "reset.h"
#include "rpc.h"
#include "stats.h"
#include "subsystem.h"
#include "thread.h"

#endif
