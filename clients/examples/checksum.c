/* CRC-32C of files or of standard input, read into ordinary memory: any address of the process may be an operand.
 *
 *     cc checksum.c $(pkg-config --cflags --libs --static idxdd) -o checksum && ./checksum FILE...
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <idxdd/client.h>

#define PIECE_BYTES (256 * 1024)
#define WAIT_MS 5000

/* The CRC of what came before is the seed of what follows. */
static int crc_of(struct idxdd_wq *wq, struct idxdd_record *record, FILE *file, uint32_t *crc)
{
    static unsigned char piece[PIECE_BYTES];
    size_t size;
    *crc = 0;
    while ((size = fread(piece, 1, sizeof(piece), file)) > 0) {
        struct idxdd_desc desc;
        int64_t number;
        idxdd_desc_crc(&desc, record, piece, *crc, (uint32_t)size);
        while ((number = idxdd_submit(wq, &desc)) == -EAGAIN)
            if (idxdd_wait_room(wq, WAIT_MS) < 0)
                return -1;
        if (number < 0 || idxdd_wait(wq, record, number, WAIT_MS) < 0)
            return -1;
        if (idxdd_status(record) != 1) {
            fprintf(stderr, "checksum: status 0x%02x after %" PRIu32 " bytes\n", record->status, record->bytes_completed);
            return -2;
        }
        *crc = (uint32_t)record->op_specific[0];
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct idxdd_connection *connection;
    struct idxdd_wq *wq;
    void *record;
    int code = 0;

    if (idxdd_connect(NULL, &connection) < 0 || idxdd_wq_open(connection, "dsa0/wq0.1", &wq) < 0 ||
        idxdd_alloc(connection, sizeof(struct idxdd_record), &record) < 0) {
        fprintf(stderr, "checksum: %s\n", idxdd_error());
        return 1;
    }
    for (int i = 1; i < argc || i == 1; i++) {
        const char *name = i < argc ? argv[i] : "-";
        FILE *file = i < argc ? fopen(name, "rb") : stdin;
        uint32_t crc;
        int answer = -2;
        if (!file)
            perror(name);
        else if ((answer = crc_of(wq, record, file, &crc)) == 0)
            printf("%08" PRIx32 "  %s\n", crc, name);
        else if (answer == -1)
            fprintf(stderr, "checksum: %s\n", idxdd_error());
        code |= answer != 0;
        if (file && file != stdin)
            fclose(file);
    }
    idxdd_close(connection);
    return code;
}
