// The arguments of all kernels, one file a family.
#pragma once

#include "convolution.h"
#include "layout.h"
#include "moves.h"
#include "peak.h"
#include "pooling.h"
#include "winograd.h"
