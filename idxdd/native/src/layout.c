/* Keeps the library non-empty while it is being built; shm.h's assertions are checked here. */
#include "idxdd/engine.h"
#include "idxdd/shm.h"
unsigned idxdd_layout_version(void);
unsigned idxdd_layout_version(void) { return IDXDD_LAYOUT_VERSION; }
