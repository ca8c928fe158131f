// Everything that a kernel file includes: the arguments, the vector, scratch memory.
#pragma once

#include "arguments.h"
#include "scratch.h"
#include "step.h"
#include "vector.h"
