#include "subsystem.h"
#include "version.h"

#include <spdk/json.h>
#include <spdk/queue.h>

#if SINCE(26, 5)
#include <spdk/init.h>
#else
/* In spdk_internal/init.h, before 21.10 in spdk_internal/event.h. */
struct spdk_subsystem {
	const char *name;
	void (*init)(void);
	void (*fini)(void);
#if !SINCE(20, 10)
	void (*config)(FILE *fp);
#endif
	void (*write_config_json)(struct spdk_json_write_ctx *w);
	TAILQ_ENTRY(spdk_subsystem) tailq;
};

struct spdk_subsystem_depend {
	const char *name;
	const char *depends_on;
	TAILQ_ENTRY(spdk_subsystem_depend) tailq;
};

void spdk_add_subsystem(struct spdk_subsystem *subsystem);
void spdk_add_subsystem_depend(struct spdk_subsystem_depend *depend);
void spdk_subsystem_init_next(int rc);
void spdk_subsystem_fini_next(void);
#endif

static bool g_began;

static void
begin(void)
{
	g_began = true;
	spdk_subsystem_init_next(0);
}

/* Before SPDK's own constructors: subsystems that stand on nothing are started in the order in which they were added. */
__attribute__((constructor(101))) static void
add_first(void)
{
	static struct spdk_subsystem first = { .name = "spdk_safe_start", .init = begin };

	spdk_add_subsystem(&first);
}

bool
spdk_shim_subsystems_began(void)
{
	return g_began;
}

static void (*g_init)(void);

static void
init(void)
{
	g_init();
	spdk_subsystem_init_next(0);
}

void
spdk_shim_subsystem_add(void (*init_fn)(void), void (*fini_fn)(void))
{
	static struct spdk_subsystem subsystem = { .name = "spdk_safe", .init = init };
	static struct spdk_subsystem_depend depend = { .name = "spdk_safe", .depends_on = "bdev" };

	g_init = init_fn;
	subsystem.fini = fini_fn;
	spdk_add_subsystem(&subsystem);
	spdk_add_subsystem_depend(&depend);
}

void
spdk_shim_subsystem_fini_done(void)
{
	spdk_subsystem_fini_next();
}
