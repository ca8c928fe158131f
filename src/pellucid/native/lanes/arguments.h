// The arguments of all kernels, one file a family.
#pragma once

#include "convolution.h"
#include "layout.h"
#include "peak.h"
