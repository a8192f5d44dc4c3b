// SPDX-License-Identifier: MIT
// What comes over xenstore's ring, taken apart and checked.
#include "pv/xen/front/wire.h"

#include "kernel/base/fmt.h"
#include "kernel/base/string.h"
#include <linux/errno.h>

int store_ring_used(uint32_t produced, uint32_t consumed)
{
    uint32_t used = produced - consumed;
    return used <= XENSTORE_RING_SIZE ? (int)used : -EPROTO;
}

void store_receiver_reset(struct store_receiver *receiver)
{
    receiver->header_bytes = 0;
    receiver->payload_bytes = 0;
}

int store_receiver_feed(
    struct store_receiver *receiver, const char *bytes, size_t len_bytes, size_t *taken)
{
    const uint32_t header_bytes = sizeof(receiver->header);
    *taken = 0;
    if (receiver->header_bytes < header_bytes) {
        size_t count = MIN(len_bytes, (size_t)(header_bytes - receiver->header_bytes));
        memcpy((char *)&receiver->header + receiver->header_bytes, bytes, count);
        receiver->header_bytes += (uint32_t)count;
        *taken = count;
        if (receiver->header_bytes < header_bytes)
            return 0;
        if (receiver->header.len > STORE_PAYLOAD_MAX)
            return -EPROTO;
    }
    size_t count =
        MIN(len_bytes - *taken, (size_t)(receiver->header.len - receiver->payload_bytes));
    memcpy(receiver->payload + receiver->payload_bytes, bytes + *taken, count);
    receiver->payload_bytes += (uint32_t)count;
    *taken += count;
    if (receiver->payload_bytes < receiver->header.len)
        return 0;
    receiver->payload[receiver->payload_bytes] = '\0';
    return 1;
}

int store_event_parse(const char *payload, size_t len_bytes, const char **path, const char **token)
{
    const char *path_end = memchr(payload, '\0', len_bytes);
    if (path_end == NULL)
        return -EPROTO;
    size_t rest_bytes = len_bytes - (size_t)(path_end + 1 - payload);
    if (memchr(path_end + 1, '\0', rest_bytes) == NULL)
        return -EPROTO;
    *path = payload;
    *token = path_end + 1;
    return 0;
}

int store_error_parse(const char *payload, size_t len_bytes)
{
    for (size_t i = 0; i < ARRAY_SIZE(xsd_errors); i++) {
        const char *name = xsd_errors[i].errstring;
        size_t name_bytes = strlen(name);
        if (len_bytes >= name_bytes && memcmp(payload, name, name_bytes) == 0 &&
            (len_bytes == name_bytes || payload[name_bytes] == '\0'))
            return -xsd_errors[i].errnum;
    }
    return -EIO;
}

int store_string_parse(const char *value, size_t len_bytes, char *string, size_t size)
{
    if (len_bytes >= size)
        return -E2BIG;
    for (size_t i = 0; i < len_bytes; i++) {
        if (value[i] < ' ' || value[i] > '~')
            return -EPROTO;
    }
    memcpy(string, value, len_bytes);
    string[len_bytes] = '\0';
    return 0;
}

int store_number_parse(const char *value, size_t len_bytes, uint64_t max, uint64_t *number)
{
    uint64_t parsed = 0;
    if (len_bytes == 0 || len_bytes > 20)
        return -EPROTO;
    for (size_t i = 0; i < len_bytes; i++) {
        if (value[i] < '0' || value[i] > '9')
            return -EPROTO;
        uint64_t digit = (uint64_t)(value[i] - '0');
        if (parsed > (UINT64_MAX - digit) / 10)
            return -ERANGE;
        parsed = parsed * 10 + digit;
    }
    if (parsed > max)
        return -ERANGE;
    *number = parsed;
    return 0;
}

int store_backend_path_check(const char *path, uint32_t domain)
{
    char prefix[48];
    (void)fmt_snprintf(prefix, sizeof(prefix), "/local/domain/%u/backend/", domain);
    size_t prefix_bytes = strlen(prefix);
    if (strncmp(path, prefix, prefix_bytes) != 0 || path[prefix_bytes] == '\0')
        return -EPROTO;
    for (const char *at = path; *at != '\0'; at++) {
        bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                     (*at >= '0' && *at <= '9') || *at == '-' || *at == '_' || *at == '@';
        // No empty segment, none at the end.
        bool slash = *at == '/' && at[1] != '/' && at[1] != '\0';
        if (!plain && !slash)
            return -EPROTO;
    }
    return 0;
}

const char *store_list_next(const char *payload, size_t len_bytes, size_t *at)
{
    if (*at >= len_bytes)
        return NULL;
    const char *string = payload + *at;
    const char *end = memchr(string, '\0', len_bytes - *at);
    if (end == NULL || end == string || strchr(string, '/') != NULL)
        return NULL;
    *at += (size_t)(end + 1 - string);
    return string;
}
