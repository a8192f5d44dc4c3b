// SPDX-License-Identifier: MIT
// Unit tests: responses of a network card's rings, and its address, from a back end that writes
// nonsense.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "pv/xen/front/net_ring.h"

static void sent(void **state)
{
    struct ring_slots slots;
    enum net_tx_answer answer;
    uint32_t slot = 99;
    ring_slots_init(&slots, 256);
    struct netif_tx_response response = {.id = 0, .status = NETIF_RSP_OKAY};
    assert_int_equal(net_tx_response_check(&slots, 0, &response, &answer, &slot), -EPROTO);
    assert_int_equal(ring_slots_take(&slots), 0);
    assert_int_equal(net_tx_response_check(&slots, 0, &response, &answer, &slot), 0);
    assert_int_equal(answer, NET_TX_SENT);
    assert_int_equal(slot, 0);
    static const int16_t failures[] = {NETIF_RSP_ERROR, NETIF_RSP_DROPPED, 2, INT16_MIN, INT16_MAX};
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        response.status = failures[i];
        assert_int_equal(net_tx_response_check(&slots, 0, &response, &answer, &slot), 0);
        assert_int_equal(answer, NET_TX_FAILED);
    }
    static const uint16_t wrong[] = {1, 255, 256, UINT16_MAX};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        response = (struct netif_tx_response){.id = wrong[i], .status = NETIF_RSP_OKAY};
        assert_int_equal(net_tx_response_check(&slots, 7, &response, &answer, &slot), -EPROTO);
    }
    // What answers further information has no id of its own.
    response = (struct netif_tx_response){.id = UINT16_MAX, .status = NETIF_RSP_NULL};
    assert_int_equal(net_tx_response_check(&slots, 0, &response, &answer, &slot), -EPROTO);
    assert_int_equal(net_tx_response_check(&slots, 1, &response, &answer, &slot), 0);
    assert_int_equal(answer, NET_TX_EXTRA);
}

static void received(void **state)
{
    struct ring_slots slots;
    ring_slots_init(&slots, 256);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ring_slots_take(&slots), i);
    }
    static const struct {
        struct netif_rx_response response;
        int result;
    } cases[] = {
        {{.id = 2, .offset = 0, .status = 1514}, 2},
        {{.id = 1, .offset = 0, .status = 4096}, 1},
        {{.id = 1, .offset = 4095, .status = 1}, 1},
        {{.id = 1, .offset = 1, .status = 4096}, -EPROTO},
        {{.id = 1, .offset = 4096, .status = 1}, -EPROTO},
        {{.id = 1, .offset = UINT16_MAX, .status = INT16_MAX}, -EPROTO},
        {{.id = 1, .offset = UINT16_MAX, .status = NETIF_RSP_ERROR}, 1}, // no data is looked at
        {{.id = 1, .status = INT16_MIN}, 1},
        {{.id = 3, .status = 60}, -EPROTO},
        {{.id = 256, .status = 60}, -EPROTO},
        {{.id = UINT16_MAX, .status = 60}, -EPROTO},
        {{.id = 1, .flags = NETRXF_extra_info, .status = 60}, -EPROTO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(net_rx_response_check(&slots, &cases[i].response), cases[i].result);
    }
}

static void addresses(void **state)
{
    static const uint8_t expected[NET_MAC_BYTES] = {0x00, 0x16, 0x3e, 0xab, 0xCD, 0xef};
    uint8_t mac[NET_MAC_BYTES] = {};
    assert_int_equal(net_mac_parse("00:16:3e:ab:CD:ef", mac), 0);
    assert_memory_equal(mac, expected, sizeof(mac));
    static const char *const wrong[] = {"", "0", "00", "00:16:3e:ab:cd",
        "00:16:3e:ab:cd:", "00:16:3e:ab:cd:e", "00:16:3e:ab:cd:ef ", "00:16:3e:ab:cd:ef:01",
        "00-16-3e-ab-cd-ef", "00:16:3e:ab:cd:g0", "0:16:3e:ab:cd:ef", "00:00:00:00:00:00",
        "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "00:16:3e:ab:cd:\xff\xff"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(net_mac_parse(wrong[i], mac), -EPROTO);
        assert_memory_equal(mac, expected, sizeof(mac)); // untouched
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sent),
        cmocka_unit_test(received),
        cmocka_unit_test(addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
