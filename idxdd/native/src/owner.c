/* Which process a handle belongs to.
 *
 * One page is wiped by the kernel in every child (MADV_WIPEONFORK), so that no pthread_atfork handler can be missed;
 * it holds a number that its process drew when it opened its first handle. */
#include "owner.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "idxdd/shm.h"
#include "wait.h"

static const volatile uint64_t nobody;
const volatile uint64_t *idxdd_owner_word = &nobody;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile uint64_t *page;

uint64_t idxdd_owner(void)
{
    pthread_mutex_lock(&lock);
    if (!page) {
        void *fresh = mmap(NULL, IDXDD_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (fresh != MAP_FAILED && madvise(fresh, IDXDD_PAGE, MADV_WIPEONFORK) == 0) {
            page = fresh;
            idxdd_owner_word = page;
        } else if (fresh != MAP_FAILED) {
            munmap(fresh, IDXDD_PAGE);
        }
    }
    if (page && *page == 0)
        *page = idxdd_now_ns();            /* a child draws after its parent did: never the same number */
    uint64_t owner = page ? *page : 0;
    pthread_mutex_unlock(&lock);
    return owner;
}

void *idxdd_map_owned(int fd, size_t size, bool writable)
{
    struct stat file;
    if (fstat(fd, &file) < 0)
        return NULL;
    if (file.st_size < 0 || (uint64_t)file.st_size < size) {
        errno = EINVAL;                    /* touching what is not there would be a SIGBUS */
        return NULL;
    }
    void *address = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (address == MAP_FAILED)
        return NULL;
    if (madvise(address, (size + IDXDD_PAGE - 1) & ~(size_t)(IDXDD_PAGE - 1), MADV_DONTFORK) < 0) {
        int error = errno;
        munmap(address, size);
        errno = error;
        return NULL;
    }
    return address;
}

void idxdd_unmap_owned(void *address, size_t size, uint64_t owner)
{
    if (address && idxdd_owned(owner))     /* in a child, something else may lie there by now */
        munmap(address, size);
}
