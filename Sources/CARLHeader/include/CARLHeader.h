/* Makes the public header, which lives at the top of the project, a module that Swift can import. */
#ifndef CARL_HEADER_MODULE_H
#define CARL_HEADER_MODULE_H
#include "../../../include/carl.h"
#include "carl_shim.h"
#endif
