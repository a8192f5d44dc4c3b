#include "tools/lodger/commands.h"
int cmd_test(int argc, char **argv)
{
    return 1;
}
