// The arguments of all kernels, one file a family.
#pragma once

#include "convolution.h"
#include "layer_norm.h"
#include "layout.h"
#include "linear.h"
#include "map.h"
#include "moves.h"
#include "normalisation.h"
#include "peak.h"
#include "pooling.h"
#include "winograd.h"
